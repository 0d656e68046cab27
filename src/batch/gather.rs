//! From questions to files of requests: what fits into a file, under the bounds on money and tokens, and what never will.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::Error;
use super::spool::Spool;
use super::work::{Full, Work};
use crate::endpoint::batches::{MAX_BYTES, line};
use crate::model::Money;
use crate::rating::answer::Usage;
use crate::rating::failure::{Failure, Reason};
use crate::rating::question::{Digest, Question};
use crate::store::{Batch, Fate, NewBatch, Settled, Turn};

/// Questions that are reserved together: few enough that little is given back where a file is full.
const GROUP: usize = 128;

/// A batch whose questions are being gathered.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) batch: Batch,
    pub(super) spool: Spool,
    /// Tokens of its prompts, by our own count.
    pub(super) tokens: u64,
    /// What it can cost at most.
    pub(super) bound: Option<Money>,
}

/// A batch that is gathered, and its file.
pub(super) struct Gathered {
    pub(super) batch: Batch,
    pub(super) file: File,
    pub(super) requests: u64,
    pub(super) bytes: u64,
    pub(super) tokens: u64,
    pub(super) bound: Option<Money>,
}

/// A question's request, and what it takes.
struct Weighed {
    line: Vec<u8>,
    tokens: u64,
    bound: Option<Money>,
}

/// Whether a request fits.
enum Fits {
    Yes,
    /// Into the next file.
    Next,
    /// Into none any more.
    No(Full),
    /// Into none ever.
    Never(Failure),
}

impl Work {
    /// Takes questions of one target into its batch, and hands over what is full.
    pub(super) async fn take(&mut self, target: usize, questions: Vec<Question>) -> Result<(), Error> {
        let mut rest = questions;
        while !rest.is_empty() && self.full.is_none() {
            let later = rest.split_off(rest.len().min(GROUP));
            let mut over = self.take_group(target, rest).await?;
            if !over.is_empty() && self.full.is_none() {
                self.hand_over(target).await?;
            }
            over.extend(later);
            rest = over;
        }
        Ok(())
    }

    /// Takes a few questions; returns those that did not fit, which are free again.
    async fn take_group(&mut self, target: usize, questions: Vec<Question>) -> Result<Vec<Question>, Error> {
        let batch = self.gather(target).await?;
        let inputs: Vec<Digest> = questions.iter().map(|question| question.digest).collect();
        let mut turns = self.desk.store.reserve(&batch, &inputs).await?;
        let mut over: Vec<Question> = Vec::new();
        let (mut never, mut repairs) = (Vec::new(), Vec::new());
        for question in questions {
            // Another row asks the same, or it waits in another batch.
            let Some(turn) = turns.remove(&question.digest) else { continue };
            if self.bounds.repairs_live && turn.wants_repair() {
                repairs.push(question.digest);
                continue;
            }
            if !over.is_empty() {
                over.push(question);
                continue;
            }
            let weighed = self.weigh(target, &question, &turn)?;
            match self.fits(target, &weighed) {
                Fits::Yes => self.push(target, &weighed).map_err(|source| self.spool_error(source))?,
                Fits::Next => over.push(question),
                Fits::No(full) => {
                    self.full = Some(full);
                    over.push(question);
                }
                Fits::Never(failure) => never.push(Settled {
                    input: question.digest,
                    usage: Usage::default(),
                    fate: Fate::Failed(failure),
                }),
            }
        }
        repairs.extend(over.iter().map(|question| question.digest));
        self.desk.store.release(&batch, &repairs).await?;
        if !never.is_empty() {
            self.desk.store.settle(&batch, &never).await?;
        }
        Ok(over)
    }

    /// The batch that a target's questions go to, a new one if there is none.
    async fn gather(&mut self, target: usize) -> Result<Batch, Error> {
        if let Some(gathering) = &self.gathering[target] {
            return Ok(gathering.batch.clone());
        }
        let form = &self.asker.forms[target];
        let new = NewBatch {
            slot: Arc::clone(&form.slot),
            digest: form.lens_digest,
            files: form.lens.files.clone(),
            asked: self.desk.endpoint.options.model.clone(),
            url: Some(self.desk.url()),
            place: Some(self.desk.endpoint.shown_url().to_owned()),
            dialect: serde_json::to_string(&self.desk.endpoint.dialect()).unwrap_or_default(),
            price: self.desk.endpoint.options.price,
        };
        let batch = self.desk.store.begin_batch(&new).await?;
        let spool = Spool::new(&self.folder).map_err(|source| self.spool_error(source))?;
        let bound = Some(Money::ZERO);
        self.gathering[target] = Some(Gathering { batch: batch.clone(), spool, tokens: 0, bound });
        Ok(batch)
    }

    fn weigh(&self, target: usize, question: &Question, turn: &Turn) -> Result<Weighed, Error> {
        let endpoint = &self.desk.endpoint;
        let (request, tokens) = self.asker.forms[target]
            .request(question, turn, endpoint.dialect())
            .map_err(|error| Error::Stopped(error.to_string()))?;
        let bound = endpoint.batch_bound(&request);
        Ok(Weighed { line: line(&request, question.digest), tokens, bound })
    }

    fn fits(&self, target: usize, weighed: &Weighed) -> Fits {
        let bytes = weighed.line.len() as u64;
        let too_long = |what: String| Fits::Never(Failure::new(Reason::TooLong, what));
        if bytes > MAX_BYTES {
            return too_long(format!(
                "its request has {bytes} bytes, and a batch's file may have {MAX_BYTES}: lower TOKENS_PER_CHUNK"
            ));
        }
        if let Some(said) = self.tokens_said().filter(|said| weighed.tokens > *said) {
            let mend =
                if self.bounds.tokens.is_some() { "raise --batch-tokens" } else { "lower TOKENS_PER_CHUNK" };
            return too_long(format!(
                "its prompt has about {} tokens, and the account may enqueue {said} at once: {mend}",
                weighed.tokens
            ));
        }
        let Some(gathering) = &self.gathering[target] else { return Fits::Next };
        if !gathering.spool.has_room(bytes) {
            return Fits::Next;
        }
        if let Some(most) =
            self.tokens_at_most().filter(|most| self.tokens_enqueued() + weighed.tokens > *most)
        {
            return Fits::No(Full::Tokens(most));
        }
        let cost = weighed.bound.unwrap_or_default();
        if !self.can_afford(cost) {
            return Fits::No(Full::Money(cost));
        }
        if self.may_ask_one_more() { Fits::Yes } else { Fits::No(Full::Questions) }
    }

    fn push(&mut self, target: usize, weighed: &Weighed) -> io::Result<()> {
        let Some(gathering) = &mut self.gathering[target] else { return Ok(()) };
        gathering.spool.push(&weighed.line)?;
        gathering.tokens = gathering.tokens.saturating_add(weighed.tokens);
        gathering.bound = gathering.bound.zip(weighed.bound).map(|(sum, more)| sum + more);
        Ok(())
    }

    /// What a target has gathered; a batch without questions is taken back.
    pub(super) async fn gathered(&mut self, target: usize) -> Result<Option<Gathered>, Error> {
        let Some(Gathering { batch, spool, tokens, bound }) = self.gathering[target].take() else {
            return Ok(None);
        };
        if spool.requests == 0 {
            self.desk.store.abandon_batch(batch.id).await?;
            return Ok(None);
        }
        let (requests, bytes) = (spool.requests, spool.bytes);
        let file = spool.finish().map_err(|source| self.spool_error(source))?;
        Ok(Some(Gathered { batch, file, requests, bytes, tokens, bound }))
    }

    pub(super) fn spool_error(&self, source: io::Error) -> Error {
        Error::Io { what: "write a file of requests in", path: self.folder.clone(), source }
    }
}
