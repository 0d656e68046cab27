//! What a reply comes to for its question: an answer, another turn, or a failure.

use serde_json::Value;

use super::Said;
use crate::lens::{Invalid, Lens, Scored};
use crate::rating::failure::{Failure, Reason};

/// What a reply comes to, read by its lens.
#[derive(Debug)]
pub enum Judged {
    /// It is an answer.
    Scored(Scored),
    /// It is none, and the model may do better when it is told what was wrong.
    Unusable {
        /// What kind of failure it is if there is no other turn.
        reason: Reason,
        /// What it said.
        said: String,
        /// What was wrong with it.
        wrong: String,
        /// The same without a word of it: what was expected.
        expected: String,
    },
    /// It was cut by its length.
    Truncated,
    /// It is none, and another turn would bring none.
    Failed(Failure),
}

impl Said {
    /// What this comes to by `lens`.
    pub fn judged(self, lens: &Lens) -> Judged {
        match self {
            Self::Arguments(candidates) => match parse(lens, candidates) {
                Ok(scored) => Judged::Scored(scored),
                Err((said, Invalid { problems, expected })) => Judged::Unusable {
                    reason: Reason::Invalid,
                    said,
                    wrong: problems.join("; "),
                    expected: expected.join("; "),
                },
            },
            // The parser's words quote nothing.
            Self::Broken(said, wrong) => {
                Judged::Unusable { reason: Reason::Invalid, said, expected: wrong.clone(), wrong }
            }
            Self::Nothing(said) => {
                let wrong = "the reply holds no function call and no JSON object".to_owned();
                Judged::Unusable { reason: Reason::NoAnswer, said, expected: wrong.clone(), wrong }
            }
            Self::Truncated => Judged::Truncated,
            Self::Refusal(words) => Judged::Failed(Failure::new(Reason::Refusal, words)),
            Self::Filtered => Judged::Failed(Failure::new(
                Reason::ContentFilter,
                "the server's content filter stopped the reply",
            )),
        }
    }
}

/// The first of the candidates that is an answer; else the first of them, and what is wrong with it.
fn parse(lens: &Lens, candidates: Vec<Value>) -> Result<Scored, (String, Invalid)> {
    let mut first = None;
    for arguments in candidates {
        match lens.parse(&arguments) {
            Ok(scored) => return Ok(scored),
            Err(invalid) => first = first.or_else(|| Some((arguments.to_string(), invalid))),
        }
    }
    Err(first.unwrap_or_else(|| (String::new(), Invalid { problems: Vec::new(), expected: Vec::new() })))
}
