//! The questions of a dataset that the store cannot answer: what is handed over in batches.

use std::collections::HashSet;
use std::sync::Arc;

use futures::stream::{Stream, StreamExt};

use super::prepare::{Prepared, Ready, Step, prepared};
use super::{Error, Plan, Rater};
use crate::dataset::Dataset;
use crate::rating::question::{Digest, Question};

/// The questions of a dataset that the store cannot answer, with the index of their target, in the order of the rows; one
/// that several rows ask may come several times.
///
/// Rows that ask nothing, since they cannot be read, lack a field or are screened, are passed over. Held are a few hundred
/// rows, whatever the dataset's size.
pub fn unanswered(
    plan: Arc<Plan>,
    dataset: Dataset,
) -> impl Stream<Item = Result<Vec<(usize, Question)>, Error>> {
    prepared(Arc::clone(&plan), dataset.batches()).then(move |rows| {
        let plan = Arc::clone(&plan);
        async move {
            let Rater::Endpoint(asker) = &plan.rater else { return Ok(Vec::new()) };
            let mut questions = questions(rows?);
            for (target, form) in asker.forms.iter().enumerate() {
                let digests: Vec<Digest> = questions
                    .iter()
                    .filter(|(of, _)| *of == target)
                    .map(|(_, question)| question.digest)
                    .collect();
                let known = asker.store.find(&form.slot, &digests).await?;
                questions.retain(|(of, question)| *of != target || !known.contains_key(&question.digest));
            }
            Ok(questions)
        }
    })
}

/// What these rows ask, each question of a target once.
fn questions(rows: Vec<Prepared>) -> Vec<(usize, Question)> {
    let (mut questions, mut seen) = (Vec::new(), HashSet::new());
    for (target, ready) in rows.into_iter().flat_map(|row| row.targets.into_iter().enumerate()) {
        let Ready::Pieces(pieces) = ready else { continue };
        for piece in pieces {
            if let Step::Ask(question) = piece.step
                && seen.insert((target, question.digest))
            {
                questions.push((target, question));
            }
        }
    }
    questions
}
