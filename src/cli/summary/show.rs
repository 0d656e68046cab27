//! What a person sees of the summaries: tables, where every row went, what it cost.

use std::fmt::Write as _;

use crate::console::{self, Console, plain, tables};
use crate::rating::answer::Unsettled;
use crate::rating::summary::Summary;

/// The tables, where every row went, what it cost, what the figures stand for.
pub(super) fn show(console: Console, summaries: &[Summary]) -> Result<(), console::Error> {
    if summaries.is_empty() {
        return Ok(());
    }
    let mut text = tables::summary(summaries);
    text.push('\n');
    for (nth, summary) in summaries.iter().enumerate() {
        let _ = write!(text, "\n{}", account(summary));
        // Once per dataset: it is the same for all its lenses.
        if summaries.get(nth + 1).is_none_or(|next| next.dataset != summary.dataset) {
            let _ = write!(text, "\n  {}", tables::inference(summary));
        }
    }
    console.result(&text)
}

/// Where every row went, and what that cost.
pub(in crate::cli) fn account(summary: &Summary) -> String {
    let name = format!("{} · {} · {}", summary.dataset, summary.lens, summary.model);
    let mut text = format!("{}\n  {}", plain(&name), summary.ledger);
    let (usage, unsettled) = (&summary.usage, summary.unsettled);
    if usage.input + usage.output > 0 || usage.cost.is_none() || unsettled.attempts > 0 {
        let cost = usage.cost.map_or_else(
            || "cost unknown: no price for this model (--price), or no usage in its replies".to_owned(),
            |cost| cost.to_string(),
        );
        let _ = write!(text, "\n  {} tokens in, {} out: {cost}", usage.input, usage.output);
    }
    text.push_str(&may_be_billed(unsettled));
    text
}

/// What may be billed beside the cost.
fn may_be_billed(unsettled: Unsettled) -> String {
    match unsettled {
        Unsettled { attempts: 0, .. } => String::new(),
        Unsettled { attempts, at_most: Some(most) } => {
            format!("; up to {most} more may be billed for {attempts} attempts without a reply")
        }
        Unsettled { attempts, at_most: None } => {
            format!("; {attempts} attempts ended without a reply and may be billed too")
        }
    }
}
