//! What became of every row: rows in = kept + dropped (by why) + unrated (by reason); and examples of both sides.

use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;

use serde::Serialize;
use serde_json::json;
use xxhash_rust::xxh3::xxh3_64;

use super::judge::{Decision, Why};
use super::scores::{Scored, ScoredRow};

/// Examples of each side.
const EXAMPLES: usize = 5;

/// The most that is shown of an example's text, in characters.
const EXCERPT: usize = 160;

/// The counts. They always balance: every row is counted once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows that passed.
    pub kept: u64,
    /// Rows that did not.
    pub dropped: BTreeMap<Why, u64>,
    /// Rows without a rating, by the reason of the first lens that has none.
    pub unrated: BTreeMap<String, u64>,
    /// Of the rows without a rating, those that were kept nevertheless.
    pub kept_unrated: u64,
}

impl Tally {
    /// Counts a row.
    pub fn add(&mut self, decision: Decision, lenses: &[Scored]) {
        match decision {
            Decision::Kept => self.kept += 1,
            Decision::Dropped(why) => *self.dropped.entry(why).or_default() += 1,
            Decision::Unrated | Decision::KeptUnrated => {
                let reason = lenses.iter().find_map(|scored| match scored {
                    Scored::Unrated(reason) => Some(reason.as_str()),
                    _ => None,
                });
                self.add_unrated(reason.unwrap_or("unknown"));
                self.kept_unrated += u64::from(decision == Decision::KeptUnrated);
            }
        }
    }

    /// Counts a row that has no rating and that is no part of a table, such as one that cannot be read.
    ///
    /// The reason is what stands before the first colon: `refusal: I cannot …` is counted as `refusal`.
    pub fn add_unrated(&mut self, reason: &str) {
        // A reason is a word or two. What is longer was not written by us, and would be an entry a row.
        const LONGEST: usize = 60;
        const MOST: usize = 50;
        let reason = reason.split(':').next().unwrap_or_default().trim();
        let is_known = self.unrated.contains_key(reason);
        let is_short = reason.len() <= LONGEST && self.unrated.len() < MOST;
        let reason = if is_known || is_short { reason } else { "other" };
        *self.unrated.entry(reason.to_owned()).or_default() += 1;
    }

    /// Rows in.
    pub fn rows_in(&self) -> u64 {
        self.kept + self.all_dropped() + self.all_unrated()
    }

    /// Rows that are written.
    pub fn written(&self) -> u64 {
        self.kept + self.kept_unrated
    }

    /// Dropped rows, of all reasons together.
    pub fn all_dropped(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Rows without a rating, of all reasons together.
    pub fn all_unrated(&self) -> u64 {
        self.unrated.values().sum()
    }

    /// The counts for `--format json` and for receipts.
    pub fn json(&self) -> serde_json::Value {
        let dropped: serde_json::Map<String, serde_json::Value> =
            self.dropped.iter().map(|(why, count)| (why.as_str().replace(' ', "_"), json!(count))).collect();
        json!({
            "rows_in": self.rows_in(),
            "kept": self.kept,
            "dropped": self.all_dropped(),
            "unrated": self.all_unrated(),
            "written": self.written(),
            "dropped_by": dropped,
            "unrated_by": self.unrated,
        })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} in = {} kept + {} dropped + {} unrated",
            self.rows_in(),
            self.kept,
            self.all_dropped(),
            self.all_unrated()
        )?;
        let list = |words: Vec<String>| words.join(", ");
        let mut notes = Vec::new();
        if !self.dropped.is_empty() {
            let by = self.dropped.iter().map(|(why, count)| format!("{} {count}", why.as_str()));
            notes.push(format!("dropped: {}", list(by.collect())));
        }
        if !self.unrated.is_empty() {
            let by =
                self.unrated.iter().map(|(reason, count)| format!("{} {count}", super::error::plain(reason)));
            notes.push(format!("unrated: {}", list(by.collect())));
        }
        if self.kept_unrated > 0 {
            notes.push(format!("{} unrated are kept too", self.kept_unrated));
        }
        if notes.is_empty() { Ok(()) } else { write!(f, " ({})", notes.join("; ")) }
    }
}

/// Rows from both sides of the cut: those nearest to it, where it is a score; else some, the same in every run.
#[derive(Debug, Default)]
pub struct Examples {
    kept: BinaryHeap<Example>,
    dropped: BinaryHeap<Example>,
}

/// A row that shows what a cut does.
#[derive(Debug, Clone, Serialize)]
pub struct Example {
    /// Its id.
    pub id: String,
    /// What the lenses gave it, in their order; none where there is no rating.
    pub scores: Vec<Option<f64>>,
    /// By how much it is above the cut; below it where negative.
    pub margin: Option<f64>,
    /// The beginning of its text.
    pub text: String,
    #[serde(skip)]
    hash: u64,
}

impl Examples {
    /// Offers a row. Its text is asked for only if it becomes an example. Rows without a rating are none.
    pub fn add(
        &mut self,
        decision: Decision,
        row: &ScoredRow,
        margin: Option<f64>,
        text: impl FnOnce() -> String,
    ) {
        let side = match decision {
            Decision::Kept => &mut self.kept,
            Decision::Dropped(Why::Cut | Why::Rank) => &mut self.dropped,
            _ => return,
        };
        let hash = xxh3_64(row.id.as_bytes());
        let mut example =
            Example { id: String::new(), scores: Vec::new(), margin, text: String::new(), hash };
        if side.len() == EXAMPLES {
            if side.peek().is_some_and(|worst| *worst <= example) {
                return;
            }
            side.pop();
        }
        let score =
            |scored: &Scored| if let Scored::Rated { score, .. } = scored { Some(*score) } else { None };
        example.id.clone_from(&row.id);
        example.scores = row.lenses.iter().map(score).collect();
        example.text = excerpt(&text());
        side.push(example);
    }

    /// Those that are kept and those that are not, nearest to the cut first.
    pub fn into_sides(self) -> (Vec<Example>, Vec<Example>) {
        (self.kept.into_sorted_vec(), self.dropped.into_sorted_vec())
    }
}

/// The beginning of a text, on one line.
fn excerpt(text: &str) -> String {
    let words = text.split_whitespace().take(EXCERPT).collect::<Vec<_>>().join(" ");
    if words.chars().nth(EXCERPT).is_none() {
        return words;
    }
    words.chars().take(EXCERPT - 1).chain(['…']).collect()
}

impl Example {
    /// What is nearest to the cut comes first, and of equally near ones that of the smallest hash.
    fn order(&self) -> (u64, u64) {
        // The order of positive doubles is that of their bits.
        let distance =
            self.margin.filter(|margin| !margin.is_nan()).map_or(u64::MAX, |margin| margin.abs().to_bits());
        (distance, self.hash)
    }
}

impl PartialEq for Example {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Example {}

impl PartialOrd for Example {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Example {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rated(score: f64) -> Scored {
        Scored::Rated { score, fields: vec![score], verdict: None }
    }

    #[test]
    fn every_row_is_counted_once() {
        let mut tally = Tally::default();
        let refusal = [rated(2.0), Scored::Unrated("refusal: no\x1b".into())];
        tally.add(Decision::Kept, &[rated(3.0)]);
        tally.add(Decision::Dropped(Why::Cut), &[rated(1.0)]);
        tally.add(Decision::Dropped(Why::Missing), &[rated(1.0)]);
        tally.add(Decision::Dropped(Why::Cut), &[rated(1.0)]);
        tally.add(Decision::Unrated, &refusal);
        tally.add(Decision::KeptUnrated, &refusal);
        tally.add_unrated("unreadable: line 3");
        assert_eq!((tally.rows_in(), tally.written()), (7, 2));
        insta::assert_snapshot!(tally, @"7 in = 1 kept + 3 dropped + 3 unrated (dropped: cut 2, missing value 1; unrated: refusal 2, unreadable 1; 1 unrated are kept too)");
        insta::assert_snapshot!(tally.json(), @r#"{"rows_in":7,"kept":1,"dropped":3,"unrated":3,"written":2,"dropped_by":{"cut":2,"missing_value":1},"unrated_by":{"refusal":2,"unreadable":1}}"#);
        insta::assert_snapshot!(Tally::default(), @"0 in = 0 kept + 0 dropped + 0 unrated");
    }

    #[test]
    fn reasons_that_are_not_ours_do_not_fill_the_memory() {
        let mut tally = Tally::default();
        (0..10_000).for_each(|row| tally.add_unrated(&format!("row {row}")));
        tally.add_unrated(&"x".repeat(1_000));
        assert_eq!((tally.unrated.len(), tally.all_unrated()), (51, 10_001));
    }

    #[test]
    fn examples_are_those_nearest_to_the_cut_on_both_sides() {
        let mut examples = Examples::default();
        for n in 0..100_u32 {
            let score = f64::from(n) / 10.0;
            let row = ScoredRow { id: n.to_string(), lenses: vec![rated(score)] };
            let decision = if score >= 5.0 { Decision::Kept } else { Decision::Dropped(Why::Cut) };
            examples
                .add(decision, &row, Some(score - 5.0), || format!("  text\n of {n} {}", "x".repeat(1000)));
        }
        let (kept, dropped) = examples.into_sides();
        let ids = |side: &[Example]| side.iter().map(|example| example.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&kept), ["50", "51", "52", "53", "54"]);
        assert_eq!(ids(&dropped), ["49", "48", "47", "46", "45"]);
        assert!(kept[0].text.starts_with("text of 50 xxx") && kept[0].text.ends_with('…'));
        assert_eq!(kept[0].text.chars().count(), EXCERPT);
        assert_eq!(kept[0].scores, [Some(5.0)]);
    }

    #[test]
    fn without_a_score_examples_do_not_depend_on_the_order_of_the_rows() {
        let of = |ids: &mut dyn Iterator<Item = u32>| {
            let mut examples = Examples::default();
            for n in ids {
                let row = ScoredRow { id: n.to_string(), lenses: Vec::new() };
                examples.add(Decision::Kept, &row, None, String::new);
                examples.add(Decision::Unrated, &row, None, || panic!("not asked for"));
            }
            examples.into_sides().0.into_iter().map(|example| example.id).collect::<Vec<_>>()
        };
        let forward = of(&mut (0..1000));
        assert_eq!(forward, of(&mut (0..1000).rev()));
        assert_eq!(forward.len(), EXAMPLES);
    }
}
