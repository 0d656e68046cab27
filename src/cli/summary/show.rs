//! What a person sees of the summaries: tables, where every row went, what it cost.

/// The tables, where every row went, what it cost, what the figures stand for.
fn show(console: Console, summaries: &[Summary]) -> Result<(), console::Error> {
    if summaries.is_empty() {
        return Ok(());
    }
    let mut text = tables::summary(summaries);
    text.push('\n');
    for (nth, summary) in summaries.iter().enumerate() {
        let name = format!("{} · {} · {}", summary.dataset, summary.lens, summary.model);
        let _ = write!(text, "\n{}\n  {}", crate::console::plain(&name), summary.ledger);
        let usage = &summary.usage;
        if usage.input + usage.output > 0 || usage.cost.is_none() || summary.unsettled > 0 {
            let cost = match usage.cost {
                Some(cost) => format!("${cost:.4}"),
                None => {
                    "cost unknown: no price for this model (--price), or no usage in its replies".to_owned()
                }
            };
            let _ = write!(text, "\n  {} tokens in, {} out: {cost}", usage.input, usage.output);
        }
        if summary.unsettled > 0 {
            let _ =
                write!(text, "; {} attempts ended without a reply and may be billed too", summary.unsettled);
        }
        // Once per dataset: it is the same for all its lenses.
        if summaries.get(nth + 1).is_none_or(|next| next.dataset != summary.dataset) {
            let _ = write!(text, "\n  {}", tables::inference(summary));
        }
    }
    console.result(&text)
}

