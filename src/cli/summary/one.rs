//! The rating of one dataset through all lenses: ratings to summaries and files.

use serde_json::json;

use super::super::exit::{Exit, usage};
use super::super::history::History;
use super::super::rater;
use super::super::rating::{Meant, inference, list};
use super::super::session::{Ended, Session};
use super::SummaryArgs;
use crate::console::Console;
use crate::dataset::Dataset;
use crate::export;
use crate::export::jsonl::{Fields, Lines};
use crate::rating::Rating;
use crate::rating::excerpt::Chooser;
use crate::rating::run::Run;
use crate::rating::summary::{Inference, Summary};

/// What came of the datasets so far.
#[derive(Default)]
pub(super) struct Results {
    /// One for each dataset and lens.
    pub(super) summaries: Vec<Summary>,
    /// The same as they are kept.
    pub(super) runs: Vec<Run>,
}

/// Rates one dataset through all lenses.
pub(super) async fn one(
    args: &SummaryArgs,
    console: Console,
    session: &mut Session<'_>,
    dataset: Dataset,
    results: &mut Results,
) -> anyhow::Result<Ended> {
    let plan = session.plan()?;
    let rows = dataset.sampled.or(dataset.rows);
    let folder = export::folder(&args.rating.settings.data.data_dir, &dataset.name);
    let fields = fields_of(args, &plan.columns)?;
    let columns = list(&args.columns);
    let mut files = Vec::new();
    let mut own: Vec<Summary> = Vec::new();
    let mut meanings = Vec::new();
    for target in &plan.targets {
        let lines = json!({"id": args.rating.id, "fields": args.fields, "keep": args.keep});
        let meant = Meant { command: "summary", columns: &columns, target, lines };
        let meaning = args.rating.meaning(meant, &plan, &dataset)?;
        files.push(Lines::create(&mut session.claims, &folder, meaning.clone(), fields.clone())?);
        meanings.push(meaning);
        let mut summary = Summary::new(&dataset.name, target, rows, inference(&dataset));
        summary.part = args.rating.part(&dataset);
        summary.excerpts = (!args.rating.settings.excerpts.no_excerpts).then(Chooser::default);
        own.push(summary);
    }
    // All its files are this run's from here on.
    let history = History::begin(&session.raters, &args.rating, meanings, console).await?;
    let mut is_broken = false;
    let take = |rating: &Rating| {
        let target = &plan.targets[rating.target];
        own[rating.target].add(rating, target);
        // After an error what is still in flight is counted, and no longer written.
        if !is_broken {
            let written = files[rating.target].write(rating, target);
            is_broken = written.is_err();
            written?;
        }
        Ok(())
    };
    let mut ended = session.drive(&plan, dataset, "further failures are in the JSONL", take).await?;
    if ended.at_once {
        return Ok(ended);
    }
    rater::settle(&plan, &mut own);
    if rows.is_none() && ended.error.is_none() && ended.exit == Exit::Done {
        own.iter_mut().for_each(Summary::complete);
        // Fewer rows than were asked for are all that there are.
        for summary in
            own.iter_mut().filter(|summary| args.rating.max.is_some_and(|max| summary.ledger.reached() < max))
        {
            summary.inference = Inference::Census;
        }
    }
    own.iter_mut().for_each(Summary::close);
    for (file, summary) in files.into_iter().zip(&own) {
        let all_reached = summary.ledger.not_reached() == Some(0);
        let complete = ended.error.is_none() && (ended.exit == Exit::Done || all_reached);
        match if complete { file.finish() } else { file.interrupt() } {
            Ok(note) => note.iter().for_each(|note| console.note(note)),
            Err(error) => ended.also(error.into(), console),
        }
    }
    match history.finish(&own, &ended, None, console).await {
        Ok(mut runs) => results.runs.append(&mut runs),
        Err(error) => ended.also(error, console),
    }
    results.summaries.append(&mut own);
    Ok(ended)
}

/// The rated columns that lines copy.
pub(super) fn fields_of(args: &SummaryArgs, columns: &[String]) -> anyhow::Result<Fields> {
    let all = columns.iter().cloned().enumerate();
    let rated = match args.fields.as_deref() {
        None => all.collect(),
        Some("none") => Vec::new(),
        Some(chosen) => {
            let chosen = list(chosen);
            if let Some(unknown) = chosen.iter().find(|name| !columns.contains(name)) {
                return Err(usage(format!(
                    "--fields `{unknown}` is not a rated column ({}); other columns are copied with --keep",
                    columns.join(", ")
                )));
            }
            all.filter(|(_, name)| chosen.contains(name)).collect()
        }
    };
    Ok(Fields { rated })
}
