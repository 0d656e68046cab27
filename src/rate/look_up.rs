//! What the store knows of the questions of some rows: their answers, and where they stand in batches.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

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
}

/// Looks questions up; in batches as well where their slot has any.
pub(super) async fn look_up(
    plan: Arc<Plan>,
    target: usize,
    questions: Vec<Question>,
    batched: bool,
) -> Found {
    let known = match &plan.rater {
        Rater::Endpoint(asker) => {
            let digests: Vec<Digest> = questions.iter().map(|question| question.digest).collect();
            stored(asker, target, &digests, batched).await
        }
        Rater::Heuristic(_) => Ok(Known::default()),
    };
    Found { target, questions, known }
}

async fn stored(
    asker: &Asker,
    target: usize,
    digests: &[Digest],
    batched: bool,
) -> Result<Known, store::Error> {
    let slot = &asker.forms[target].slot;
    // Before the answers: what another process collects in between has its answer then.
    let standings = if batched { asker.store.stand(slot, digests).await? } else { HashMap::new() };
    let known = asker.store.find(slot, digests).await?;
    asker.pulse.found.fetch_add(known.len() as u64, Ordering::Relaxed);
    Ok((known, standings))
}

/// By target, whether its slot has questions in batches.
pub(super) async fn batched(plan: &Plan) -> Result<Vec<bool>, store::Error> {
    let Rater::Endpoint(asker) = &plan.rater else { return Ok(vec![false; plan.targets.len()]) };
    let mut batched = Vec::with_capacity(asker.forms.len());
    for form in &asker.forms {
        batched.push(asker.store.has_batched(&form.slot).await?);
    }
    Ok(batched)
}
