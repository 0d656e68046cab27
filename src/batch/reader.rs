//! What a reply of a batch comes to for its question: judged as live replies are, one turn at a time.

use serde_json::Value;

use super::Error;
use crate::endpoint::batches::{Billing, Line, LineResult};
use crate::endpoint::{Adapted, Dialect, Endpoint, Form, Judged, Options, Reply, Trouble};
use crate::lens::Lens;
use crate::model::{Price, Tier};
use crate::rate::retry::{self, Next};
use crate::rating::answer::{Answer, Provenance, Usage};
use crate::rating::failure::{Failure, Reason};
use crate::rating::question::Digest;
use crate::store::{self, Batch, FORM, Fate, MOST_TRIES, Turn};

/// Reads the replies of one batch.
#[derive(Debug)]
pub struct Reader {
    lens: Lens,
    form: Form,
    /// In which dialect its questions were asked.
    sent: Dialect,
    /// The endpoint under the name of this batch's model: it learns from refusals, and is asked nothing.
    server: Endpoint,
    /// How its replies are billed.
    billing: Billing,
}

/// What a reply comes to.
#[derive(Debug)]
pub enum Verdict {
    /// This becomes of its question, for this use.
    Settled(Usage, Fate),
    /// No question would be answered if nothing in the batch was. Otherwise its question fails.
    Suspect(Blame),
    /// The account can have no question answered now.
    Stop(Blame),
}

/// What is said of a refusal that means more questions than one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    /// What is kept with its question.
    pub failure: Failure,
    /// The server's words, for people alone: they may quote the request.
    pub words: String,
}

impl Reader {
    /// Reads replies of `batch`, which go by the lens as it was, and by the price as it was. `options` say how the endpoint is reached
    /// and asked, `price` is that of the batch's model at the standard tier where the batch has none of its own, and `learned` the dialect that earlier batches led to.
    pub fn new(
        options: &Options,
        batch: &Batch,
        price: Option<Price>,
        learned: Option<Dialect>,
    ) -> Result<Self, Error> {
        if batch.form != FORM {
            return Err(Error::newer(batch));
        }
        let price = batch.price.or(price);
        let lens =
            Lens::from_files(&batch.slot.lens, &batch.files).map_err(|error| Error::lens(batch, &error))?;
        let options = Options {
            model: batch.asked.clone(),
            answers: batch.slot.model.clone(),
            price,
            ..options.clone()
        };
        let form = Form::new(&lens.function, lens.system(), &options)?;
        let sent = read_dialect(&batch.dialect);
        let server = Endpoint::new(options)?;
        server.begin_with(learned.unwrap_or(sent));
        Ok(Self { lens, form, sent, server, billing: Billing { price, tier: Tier::Batch } })
    }

    /// How the endpoint is to be asked by what the replies so far have taught.
    pub fn dialect(&self) -> Dialect {
        self.server.dialect()
    }

    /// What was learned of the endpoint and not told yet.
    pub fn notes(&self) -> Vec<String> {
        self.server.notes()
    }

    /// Reads a line of its files. The error says what is wrong with it, and quotes nothing of it.
    pub fn read(&self, line: &[u8]) -> Result<Line, String> {
        self.server.read_line(line, &self.billing)
    }

    /// What a line comes to for a question that was asked in this turn.
    pub fn judge(&self, turn: &Turn, result: LineResult) -> Verdict {
        match result {
            LineResult::Ran(ran) => match *ran {
                Ok(reply) => self.replied(turn, reply),
                Err(trouble) => self.refused(turn, &trouble),
            },
            LineResult::NotRun(error) => {
                let detail = format!("it was not run: {}", error.bare());
                Verdict::Settled(Usage::default(), Fate::Again(Failure::new(Reason::Timeout, detail)))
            }
        }
    }

    fn replied(&self, turn: &Turn, reply: Reply) -> Verdict {
        let usage = reply.usage.unwrap_or(Usage::UNKNOWN);
        let has_no_call = self.server.heard(&self.form, self.sent, reply.call);
        // It is asked in the other form next: that says nothing of the question. Without another form each reply counts,
        // so that no question is asked for ever.
        let is_free = has_no_call && self.server.dialect() != self.sent;
        let fate = match reply.said.judged(&self.lens) {
            Judged::Scored(scored) => {
                let mut all = turn.usage;
                all.add(&usage);
                let provenance = Provenance {
                    model_reported: reply.model,
                    finish_reason: reply.finish_reason,
                    usage: all,
                    latency_ms: 0,
                    attempts: turn.tries + 1,
                    answered_at: store::now(),
                };
                Fate::Answered(std::sync::Arc::new(Answer {
                    scores: scored.scores,
                    rationales: scored.rationales,
                    provenance,
                }))
            }
            Judged::Unusable { reason, expected, .. } if is_free => {
                Fate::Again(Failure::new(reason, expected))
            }
            Judged::Truncated if is_free => Fate::Again(Failure::new(Reason::NoAnswer, "cut by its length")),
            Judged::Unusable { reason, expected, .. } => unusable(turn, Failure::new(reason, expected)),
            Judged::Truncated => self.truncated(turn),
            // The words are the model's own, and may quote the row.
            Judged::Failed(Failure { reason: Reason::Refusal, .. }) => {
                Fate::Failed(Failure::new(Reason::Refusal, "the model declined"))
            }
            Judged::Failed(failure) => Fate::Failed(failure),
        };
        Verdict::Settled(usage, fate)
    }

    fn refused(&self, turn: &Turn, trouble: &Trouble) -> Verdict {
        // What the server says in its own words may quote the row.
        let kept = match trouble {
            Trouble::Refused(refusal) => refusal.bare(),
            other => other.to_string(),
        };
        let failure = |reason| Failure::new(reason, kept.clone());
        let blame = |words| Blame { failure: failure(Reason::Rejected), words };
        if let Trouble::Refused(refusal) = trouble {
            match self.server.adapt(&self.form, self.sent, refusal) {
                Adapted::Again => {
                    return Verdict::Settled(Usage::default(), Fate::Again(failure(Reason::Rejected)));
                }
                Adapted::Stop(words) => return Verdict::Suspect(blame(words)),
                Adapted::No => {}
            }
        }
        let fate = match retry::judge(trouble).next {
            Next::Retry { reason, .. } => tried(turn, failure(reason)),
            Next::Loading => tried(turn, failure(Reason::ServerError)),
            Next::Unusable => unusable(turn, failure(Reason::Invalid)),
            Next::CutShort => self.truncated(turn),
            Next::Fail(reason) => Fate::Failed(failure(reason)),
            Next::Stop if is_of_the_account(trouble) => return Verdict::Stop(blame(trouble.to_string())),
            Next::Stop | Next::Suspect(_) => return Verdict::Suspect(blame(trouble.to_string())),
        };
        Verdict::Settled(Usage::default(), fate)
    }

    /// A reply that was cut: once more with twice the room, where that is ours to give.
    fn truncated(&self, turn: &Turn) -> Fate {
        let cut = |detail| Failure::new(Reason::Truncated, detail);
        if !self.form.room_is_ours() {
            return Fate::Failed(cut("cut by its length, which --extra-body sets"));
        }
        if last(turn) == Some(Reason::Truncated) {
            return Fate::Failed(cut(
                "cut by its length, also with twice the room: raise MAX_GENERATION_TOKENS",
            ));
        }
        tried(turn, cut("cut by its length: raise MAX_GENERATION_TOKENS"))
    }
}

/// A reply that is no answer: once more with what was wrong with it.
fn unusable(turn: &Turn, failure: Failure) -> Fate {
    if matches!(last(turn), Some(Reason::Invalid | Reason::NoAnswer)) {
        return Fate::Failed(failure);
    }
    tried(turn, failure)
}

/// A try that brought nothing: another one, while any is left.
fn tried(turn: &Turn, failure: Failure) -> Fate {
    if turn.tries + 1 >= MOST_TRIES { Fate::Failed(failure) } else { Fate::Repair(failure) }
}

fn last(turn: &Turn) -> Option<Reason> {
    turn.last.as_ref().map(|failure| failure.reason)
}

/// Whether a refusal is for the state of the account (its key, its money), which answers to other questions do not disprove.
fn is_of_the_account(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Refused(refusal) if matches!(refusal.status, 401 | 402 | 429))
}

/// The dialect that the store keeps as JSON; what cannot be read is the plan.
pub fn read_dialect(text: &str) -> Dialect {
    serde_json::from_str(text).unwrap_or_default()
}

/// A dialect as the store keeps it.
pub fn dialect_text(dialect: Dialect) -> String {
    serde_json::to_string(&dialect).unwrap_or_default()
}

/// Under which URL the lessons of a batch are kept: those of runners of one's own under one that is none.
pub fn lessons_of(url: Option<Digest>) -> Digest {
    url.unwrap_or_else(|| Digest::of(&Value::Null))
}

/// The question that a `custom_id` names, where it is one of ours: 64 lower-case hexadecimal digits.
pub fn question_of(custom_id: &str) -> Option<Digest> {
    let digits = custom_id.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(Digest(bytes))
}

#[cfg(test)]
mod tests;
