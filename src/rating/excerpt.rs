//! A few rows of a run to look at: the best, the worst, and those that the rater is least sure of.
//!
//! Rows go by in a stream; what is kept of them is at most 40 short texts.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::answer::Answer;
use super::{Rating, Target};
use crate::lens::{Cuts, Verdict};
use crate::record;

/// How many rows of each kind are kept: 40 together, fewer where a row is of two kinds.
const MOST: [(Kind, usize); 3] = [(Kind::Best, 14), (Kind::Worst, 13), (Kind::Uncertain, 13)];

/// Characters of a row's text, and of what the rater said of it.
const LONGEST: usize = 300;

/// Why a row is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Its overall score is among the highest.
    Best,
    /// Its overall score is among the lowest.
    Worst,
    /// Its chunks were rated most differently, or its scores lie nearest to a verdict's border.
    Uncertain,
}

/// The beginning of a row, and what was said of it. All of it is a stranger's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Excerpt {
    /// Why it is shown.
    pub kinds: Vec<Kind>,
    /// The record's id.
    pub id: String,
    /// The beginning of the text that was rated, its fields joined by line breaks.
    pub text: String,
    /// The record's scores, in the order of the run's.
    pub scores: Vec<f64>,
    /// The verdict, where the lens has cuts.
    pub verdict: Option<Verdict>,
    /// The beginning of the rationales, those of several chunks joined by line breaks.
    pub rationale: String,
    /// How far the overall scores of its chunks lie apart.
    pub spread: f64,
}

/// Chooses the rows to show as they go by.
#[derive(Debug, Clone, Default)]
pub struct Chooser {
    best: Vec<Entry>,
    worst: Vec<Entry>,
    uncertain: Vec<Entry>,
}

/// A chosen row and its rank: what is less comes first.
#[derive(Debug, Clone)]
struct Entry(Rank, Arc<Excerpt>);

/// Two measures, the lesser first, then a hash of the id: so that the choice does not depend on the order of rows.
type Rank = (f64, f64, u64);

fn order(one: &Rank, other: &Rank) -> Ordering {
    one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)).then(one.2.cmp(&other.2))
}

impl Chooser {
    /// Looks at a rating of `target`.
    pub fn add(&mut self, rating: &Rating, target: &Target) {
        let Some(scores) = rating.scores() else { return };
        let Some(&overall) = scores.get(target.overall) else { return };
        let hash = xxh3_64(rating.record.id.as_bytes());
        let of_chunks = answers(rating).filter_map(|answer| answer.scores.get(target.overall).copied());
        let (low, high) = of_chunks
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), score| (low.min(score), high.max(score)));
        let spread = (high - low).max(0.0);
        let border = target.lens.cuts.as_ref().map(|cuts| border(cuts, &scores, overall));
        // Without spread and without a border nothing tells how sure the rater is.
        let least_sure = border.or((spread > 0.0).then_some(0.0));
        // Of many equal rows each kind has others.
        let uncertain = least_sure.map(|border| (-spread, border, hash.rotate_left(32)));
        let ranks = [Some((-overall, 0.0, hash)), Some((overall, 0.0, !hash)), uncertain];
        let mut excerpt: Option<Arc<Excerpt>> = None;
        for ((list, (_, most)), rank) in
            [&mut self.best, &mut self.worst, &mut self.uncertain].into_iter().zip(MOST).zip(ranks)
        {
            let Some(rank) = rank else { continue };
            let at = list.partition_point(|entry| order(&entry.0, &rank).is_lt());
            if at >= most {
                continue;
            }
            // Most rows are none of the chosen: their texts are not touched.
            let excerpt = excerpt.get_or_insert_with(|| Arc::new(cut(rating, target, &scores, spread)));
            list.insert(at, Entry(rank, Arc::clone(excerpt)));
            list.truncate(most);
        }
    }

    /// The chosen rows, 40 at most: the best, then the worst, then the most uncertain.
    pub fn excerpts(&self) -> Vec<Excerpt> {
        let mut chosen: Vec<(&Arc<Excerpt>, Vec<Kind>)> = Vec::new();
        for (list, (kind, _)) in [&self.best, &self.worst, &self.uncertain].into_iter().zip(MOST) {
            for Entry(_, excerpt) in list {
                match chosen.iter_mut().find(|(known, _)| Arc::ptr_eq(known, excerpt)) {
                    Some((_, kinds)) => kinds.push(kind),
                    None => chosen.push((excerpt, vec![kind])),
                }
            }
        }
        chosen.into_iter().map(|(excerpt, kinds)| Excerpt { kinds, ..Excerpt::clone(excerpt) }).collect()
    }
}

/// How far the scores are from those that would have another verdict: the least distance of the overall score, or of the
/// lowest one, to a cut.
fn border(cuts: &Cuts, scores: &[f64], overall: f64) -> f64 {
    let lowest = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let of_overall =
        [cuts.good.overall, cuts.medium.overall, cuts.poor_below].map(|cut| (overall - cut).abs());
    let of_lowest = [cuts.good.all, cuts.medium.all].map(|cut| (lowest - cut).abs());
    of_overall.into_iter().chain(of_lowest).fold(f64::INFINITY, f64::min)
}

fn answers(rating: &Rating) -> impl Iterator<Item = &Answer> {
    rating.pieces.iter().filter_map(|piece| piece.outcome.as_deref().ok())
}

fn cut(rating: &Rating, target: &Target, scores: &[f64], spread: f64) -> Excerpt {
    let fields: Vec<_> = rating.record.fields.iter().map(record::text).collect();
    let said: Vec<&str> = answers(rating).flat_map(|answer| &answer.rationales).map(String::as_str).collect();
    Excerpt {
        kinds: Vec::new(),
        id: beginning(&rating.record.id, LONGEST).to_owned(),
        text: joined(&fields),
        scores: scores.to_vec(),
        verdict: target.verdict(scores),
        rationale: joined(&said),
        spread,
    }
}

/// The texts on lines of their own, 300 characters together and an ellipsis for each that was cut: equal shares, and what
/// a short one leaves goes to those after it.
fn joined(texts: &[impl AsRef<str>]) -> String {
    let mut room = LONGEST;
    let mut lines = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        let text = text.as_ref().trim();
        let kept = beginning(text, room / (texts.len() - at));
        room -= kept.chars().count();
        if !kept.is_empty() {
            lines.push(if kept.len() < text.len() { format!("{kept}…") } else { kept.to_owned() });
        }
    }
    lines.join("\n")
}

/// At most so many characters of a text.
fn beginning(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::{Piece, Source};
    use super::*;
    use crate::record::Record;

    fn target() -> Target {
        let lens = Arc::new(crate::lens::open("textbook_quality", &[]).unwrap());
        Target { scores: lens.scores.clone(), overall: lens.overall, lens, model: "m".into(), version: 1 }
    }

    fn rating(id: &str, chunks: &[f64]) -> Rating {
        let piece = |score: &f64| Piece {
            bytes: Vec::new(),
            outcome: Ok(Arc::new(Answer {
                scores: vec![*score],
                rationales: vec![format!("because of {score}")],
                provenance: crate::rating::answer::Provenance::default(),
            })),
            source: Source::Asked,
        };
        let fields = vec![Value::String(format!("text of {id} {}", "é".repeat(1000)))];
        Rating {
            record: Arc::new(Record { id: id.to_owned(), file: 0, fields, kept: Vec::new() }),
            target: 0,
            pieces: chunks.iter().map(piece).collect(),
            unasked: None,
            screened: None,
        }
    }

    fn chosen(ratings: &[Rating]) -> Vec<Excerpt> {
        let (mut chooser, target) = (Chooser::default(), target());
        for rating in ratings {
            chooser.add(rating, &target);
        }
        chooser.excerpts()
    }

    fn ids(excerpts: &[Excerpt], kind: Kind) -> Vec<&str> {
        excerpts
            .iter()
            .filter(|excerpt| excerpt.kinds.contains(&kind))
            .map(|excerpt| excerpt.id.as_str())
            .collect()
    }

    #[test]
    fn the_best_the_worst_and_the_least_sure_are_kept_and_no_more_than_forty() {
        let mut ratings: Vec<Rating> =
            (0..500).map(|row| rating(&format!("r#{row}"), &[1.0 + 2.0 * f64::from(row) / 499.0])).collect();
        ratings.push(rating("apart", &[1.0, 3.0]));
        let excerpts = chosen(&ratings);
        assert_eq!(excerpts.len(), 40);
        let best = ids(&excerpts, Kind::Best);
        assert_eq!((best.len(), best[0], best[13]), (14, "r#499", "r#486"));
        let worst = ids(&excerpts, Kind::Worst);
        assert_eq!((worst.len(), worst[0], worst[12]), (13, "r#0", "r#12"));
        let uncertain = ids(&excerpts, Kind::Uncertain);
        assert_eq!((uncertain.len(), uncertain[0]), (13, "apart"));
    }

    #[test]
    fn a_row_of_two_kinds_is_kept_once() {
        let excerpts = chosen(&[rating("one", &[2.0])]);
        assert_eq!(excerpts.len(), 1);
        assert_eq!(excerpts[0].kinds, [Kind::Best, Kind::Worst, Kind::Uncertain]);
        assert_eq!(excerpts[0].verdict, Some(Verdict::Medium));
    }

    #[test]
    fn texts_are_cut_at_three_hundred_characters() {
        let excerpts = chosen(&[rating("one", &[1.0, 3.0])]);
        assert_eq!(excerpts[0].text.chars().count(), 301);
        assert!(excerpts[0].text.starts_with("text of one é") && excerpts[0].text.ends_with('…'));
        assert_eq!(excerpts[0].rationale, "because of 1\nbecause of 3");
        let two = joined(&["a".repeat(1000), "b".repeat(100)]);
        assert_eq!(two, format!("{}…\n{}", "a".repeat(150), "b".repeat(100)));
        assert_eq!(joined(&["x", &"b".repeat(400)]), format!("x\n{}…", "b".repeat(299)));
    }

    #[test]
    fn a_row_that_failed_is_none_of_them() {
        let mut failed = rating("failed", &[1.0, 2.0]);
        failed.pieces[1].outcome =
            Err(crate::rating::failure::Failure::new(crate::rating::failure::Reason::Refusal, "no"));
        assert!(chosen(&[failed]).is_empty());
    }

    proptest! {
        #[test]
        fn the_choice_does_not_depend_on_the_order_of_rows(scores in proptest::collection::vec(0_u8..5, 1..120)) {
            let mut ratings: Vec<Rating> = scores.iter().enumerate()
                .map(|(row, score)| rating(&format!("r#{row}"), &[1.0 + f64::from(*score) / 2.0])).collect();
            let forwards = chosen(&ratings);
            ratings.reverse();
            prop_assert_eq!(forwards, chosen(&ratings));
        }
    }
}
