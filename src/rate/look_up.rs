//! What the store knows of the questions of some rows: their answers, and where they stand in batches.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::ask::Asker;
use super::{Plan, Rater};
use crate::rating::answer::Answer;
use crate::rating::question::{Digest, Question};
use crate::store::{self, Standing};

/// What the store knows of questions: their answers, and where they stand in batches.
pub(super) type Known = (HashMap<Digest, Arc<Answer>>, HashMap<Digest, Standing>);

/// What the store knows of the questions of some rows.
pub(super) struct Found {
    pub(super) target: usize,
    pub(super) questions: Vec<Question>,
    pub(super) known: Result<Known, store::Error>,
    /// [`Pulse::batched`](super::ask::Pulse::batched) before that was looked up.
    pub(super) batched: u64,
}

/// Looks questions up; in batches as well where their slot has any.
pub(super) async fn look_up(plan: Arc<Plan>, target: usize, questions: Vec<Question>) -> Found {
    let (batched, known) = match &plan.rater {
        Rater::Endpoint(asker) => {
            let digests: Vec<Digest> = questions.iter().map(|question| question.digest).collect();
            (asker.pulse.batched.load(Ordering::Relaxed), stored(asker, target, &digests).await)
        }
        Rater::Heuristic(_) => (0, Ok(Known::default())),
    };
    Found { target, questions, known, batched }
}

async fn stored(asker: &Asker, target: usize, digests: &[Digest]) -> Result<Known, store::Error> {
    let form = &asker.forms[target];
    let slot = &form.slot;
    let mut standings = HashMap::new();
    // Each time: another process may hand questions over while this run goes on.
    if asker.store.has_batched(slot).await? {
        // Before the answers: what another process collects in between has its answer then.
        let (stand, lost) =
            asker.store.stand(slot, digests, asker.pulse.told_at.load(Ordering::Relaxed)).await?;
        standings = stand;
        form.unsettled.lock().unwrap_or_else(PoisonError::into_inner).add_all(lost);
    }
    let known = asker.store.find(slot, digests).await?;
    asker.pulse.found.fetch_add(known.len() as u64, Ordering::Relaxed);
    Ok((known, standings))
}
