//! From scores to one word: the scale, the cuts through it, and the verdict.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The lowest and the highest score that a lens gives. In `config.json`: `"scale": [1, 3]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "(f64, f64)", into = "(f64, f64)")]
pub struct Scale {
    /// The worst score.
    pub low: f64,
    /// The best score.
    pub high: f64,
}

impl Scale {
    /// 1 to 3, the scale of the built-in lenses and of the original Python tool.
    pub const DEFAULT: Self = Self { low: 1.0, high: 3.0 };

    /// Whether a score lies on the scale, its ends included.
    pub fn contains(self, score: f64) -> bool {
        (self.low..=self.high).contains(&score)
    }
}

impl From<(f64, f64)> for Scale {
    fn from((low, high): (f64, f64)) -> Self {
        Self { low, high }
    }
}

impl From<Scale> for (f64, f64) {
    fn from(scale: Scale) -> Self {
        (scale.low, scale.high)
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.low, self.high)
    }
}

/// How good a row is, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// The overall score is below [`Cuts::poor_below`].
    Poor,
    /// None of the others.
    Low,
    /// Reaches [`Cuts::medium`].
    Medium,
    /// Reaches [`Cuts::good`].
    Good,
}

impl Verdict {
    /// All verdicts, worst first: the order of columns in a summary.
    pub const ALL: [Self; 4] = [Self::Poor, Self::Low, Self::Medium, Self::Good];

    /// The word that tables, CSV and JSONL use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Poor => "Poor",
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::Good => "Good",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a verdict asks of the scores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a cut such as {\"all\": 2.5, \"overall\": 2.75}")]
pub struct Cut {
    /// Every score, `overall` included, is at least this.
    pub all: f64,
    /// The overall score is at least this.
    pub overall: f64,
}

/// Where a lens's scale is cut into verdicts. In `config.json`, here with the cuts of the scale 1 to 3:
///
/// `"cuts": {"good": {"all": 2.5, "overall": 2.75}, "medium": {"all": 1.5, "overall": 2}, "poor_below": 1.5}`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "cuts with \"good\", \"medium\" and \"poor_below\"")]
pub struct Cuts {
    /// What makes a row [`Verdict::Good`].
    pub good: Cut,
    /// What makes a row [`Verdict::Medium`].
    pub medium: Cut,
    /// A row whose overall score is below this, and that is neither good nor medium, is [`Verdict::Poor`].
    pub poor_below: f64,
}

impl Cuts {
    /// The cuts of the scale 1 to 3: those of the original Python tool, with a Poor that can occur
    /// (the original's began below the end of its scale).
    pub const DEFAULT: Self = Self {
        good: Cut { all: 2.5, overall: 2.75 },
        medium: Cut { all: 1.5, overall: 2.0 },
        poor_below: 1.5,
    };

    /// The verdict on one row: all its scores, of which `overall` is one.
    pub fn verdict(&self, scores: &[f64], overall: f64) -> Verdict {
        let reaches = |cut: Cut| overall >= cut.overall && scores.iter().all(|score| *score >= cut.all);
        if reaches(self.good) {
            Verdict::Good
        } else if reaches(self.medium) {
            Verdict::Medium
        } else if overall < self.poor_below {
            Verdict::Poor
        } else {
            Verdict::Low
        }
    }

    /// What is wrong with cuts on this scale, if anything.
    pub(super) fn problem(&self, scale: Scale) -> Option<String> {
        let Self { good, medium, poor_below } = *self;
        let all = [good.all, good.overall, medium.all, medium.overall, poor_below];
        if let Some(cut) = all.iter().find(|cut| !scale.contains(**cut)) {
            Some(format!("the cut {cut} is not on the scale of {scale}"))
        } else if good.all < medium.all || good.overall < medium.overall || medium.overall < poor_below {
            Some("the cuts must not fall from poor over medium to good".to_owned())
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(scores: &[f64], overall: f64) -> Verdict {
        Cuts::DEFAULT.verdict(scores, overall)
    }

    #[test]
    fn the_cuts_of_the_scale_1_to_3_hold_at_their_edges() {
        assert_eq!(of(&[2.5, 2.75], 2.75), Verdict::Good);
        assert_eq!(of(&[2.5, 2.7], 2.7), Verdict::Medium);
        assert_eq!(of(&[2.4, 3.0], 3.0), Verdict::Medium);
        assert_eq!(of(&[1.5, 2.0], 2.0), Verdict::Medium);
        assert_eq!(of(&[1.4, 2.0], 2.0), Verdict::Low);
        assert_eq!(of(&[1.5, 1.9], 1.9), Verdict::Low);
        assert_eq!(of(&[3.0, 1.5], 1.5), Verdict::Low);
        assert_eq!(of(&[3.0, 1.49], 1.49), Verdict::Poor);
    }

    #[test]
    fn one_bad_score_keeps_a_good_overall_from_good_and_medium() {
        assert_eq!(of(&[1.0, 3.0], 3.0), Verdict::Low);
    }

    #[test]
    fn poor_and_low_and_medium_and_good_are_in_this_order() {
        assert!(Verdict::ALL.is_sorted());
        assert_eq!(format!("{:>6}", Verdict::Low), "   Low");
    }

    #[test]
    fn cuts_off_the_scale_or_out_of_order_are_a_problem() {
        assert_eq!(Cuts::DEFAULT.problem(Scale::DEFAULT), None);
        assert!(Cuts::DEFAULT.problem(Scale { low: 0.0, high: 2.0 }).unwrap().contains("2.5"));
        let turned = Cuts { good: Cuts::DEFAULT.medium, medium: Cuts::DEFAULT.good, poor_below: 1.5 };
        assert!(turned.problem(Scale::DEFAULT).unwrap().contains("must not fall"));
    }

    #[test]
    fn cuts_and_scale_are_read_from_their_json_form() {
        let json = r#"{"good":{"all":2.5,"overall":2.75},"medium":{"all":1.5,"overall":2},"poor_below":1.5}"#;
        assert_eq!(serde_json::from_str::<Cuts>(json).unwrap(), Cuts::DEFAULT);
        assert_eq!(serde_json::from_str::<Scale>("[1, 3]").unwrap(), Scale::DEFAULT);
        assert!(serde_json::from_str::<Cuts>(&json.replace("poor_below", "poor")).is_err());
    }
}
