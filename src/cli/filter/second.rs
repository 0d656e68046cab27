//! The second pass from outside: ranking before it, signals and progress during it, the output in place after it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::args::FilterArgs;
use super::keep::{self, Pass};
use super::show::{self, Made};
use super::{Prepared, Shown};
use crate::cli::exit::Exit;
use crate::cli::settings;
use crate::cli::signals::{Signal, Signals};
use crate::console::plain;
use crate::dataset::Found;
use crate::dataset::whole::Form;
use crate::filter::judge::Judge;
use crate::filter::merge::Merge;
use crate::filter::read::ScoresFile;
use crate::filter::tally::{Examples, Tally};
use crate::rate::Progress;
use crate::rating::run::Sample;

/// The second pass over a dataset.
pub(super) struct Second<'a> {
    pub(super) args: &'a FilterArgs,
    pub(super) found: &'a Found,
    /// The table of scores; none where columns judge.
    pub(super) scores: Option<&'a Path>,
}

impl Second<'_> {
    /// Judges all rows and writes those that are kept. Says how the command ends by that, if not as it would anyway.
    pub(super) async fn run(
        &self,
        ready: Prepared,
        signals: &mut Signals,
        shown: &mut Shown,
    ) -> anyhow::Result<Option<Exit>> {
        let args = self.args;
        let console = args.rating.settings.output.console();
        self.check_unchanged(&ready.stamp)?;
        let stop = signals.stop();
        let judge = tokio::select! {
            judge = self.ranked((ready.judge, ready.form), stop) => judge?,
            _ = signals.next() => None,
        };
        let Some(judge) = judge else { return Ok(Some(signals.exit())) };
        let total = ready.whole.rows;
        let pass = Pass {
            judge,
            lenses: ready.lenses.clone(),
            scored: self.merge().await?,
            sink: ready.sink,
            shown: args.shown_column(&ready.whole.columns),
            // With a file of scores rows come under the user's ids.
            id: args.rating.id.clone(),
            unrated: args.unrated.of_judge(),
            has_all_rows: args.rating.sample() == Sample::All,
            tally: Tally::default(),
            examples: Examples::default(),
        };
        let (done, progress) = watch::channel(0);
        let (whole, stop) = (ready.whole, signals.stop());
        let mut work = tokio::task::spawn_blocking(move || pass.run(whole, &done, &stop));
        let mut bar = console.bar(if args.preview { "judging" } else { "writing" }, total);
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let kept = loop {
            tokio::select! {
                kept = &mut work => break kept?,
                _ = tick.tick() => bar.show(&Progress { done: *progress.borrow(), ..Progress::default() }),
                signal = signals.next() => match signal {
                    Signal::First => bar.aside(|| console.note("stopping: the output is not written; the same command makes it")),
                    Signal::Again(_) => break Ok(None),
                },
            }
        };
        bar.finish();
        let Some(kept) = kept? else { return Ok(Some(signals.exit())) };
        if let (1.., Some(id)) = (kept.left.count, &kept.left.example) {
            console.warn(&format!(
                "{} scores belong to no row of the dataset, such as that of {id}",
                kept.left.count
            ));
        }
        let written = kept.tally.written();
        if let Some(work) = ready.work.filter(|_| written > 0) {
            let card = args.card(&Made {
                dataset: &ready.name,
                lenses: &ready.lenses,
                raters: &ready.raters,
                adding: &ready.adding,
                tally: &kept.tally,
                revision: self.found.revision(),
            });
            let unrated = work.unrated_out().to_owned();
            self.check_unchanged(&ready.stamp)?;
            tokio::task::block_in_place(|| {
                work.finish(kept.tally.json(), kept.shards.clone(), &card.markdown())
            })?;
            shown.output.clone_from(&args.output);
            if kept.tally.all_unrated() > 0 {
                console.note(&format!("rows without a rating are listed in {}", unrated.display()));
            }
        }
        let unreadable = kept.tally.unrated.get(keep::UNREADABLE).copied().unwrap_or_default();
        let (share, allowed) =
            (unreadable as f64 / kept.tally.rows_in().max(1) as f64, args.rating.fail_above);
        shown.is_preview = args.preview;
        shown.kept = Some(kept);
        Ok(match written {
            0 => Some(Exit::NothingKept),
            _ if share > allowed => {
                show::too_many(console, (share, allowed), "they cannot be read");
                Some(Exit::TooManyFailed)
            }
            _ => None,
        })
    }

    async fn merge(&self) -> anyhow::Result<Option<Merge>> {
        match self.scores {
            Some(path) => Ok(Some(Merge::new(open_scores(path).await?))),
            None => Ok(None),
        }
    }

    /// Finds what has to be reached to be among the best, where that is asked, over the rows in the very form in which
    /// they are written: a row that cannot be read there is not ranked. `None` if it was stopped.
    async fn ranked(
        &self,
        (judge, form): (Judge, Form),
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<Option<Judge>> {
        if !judge.ranks() {
            return Ok(Some(judge));
        }
        let (whole, merge) = (self.found.whole(form).await?, self.merge().await?);
        tokio::task::spawn_blocking(move || keep::rank(judge, whole, merge, &stop)).await?
    }

    /// Whether the data is still what it was when the command began: rows would get the scores of others.
    fn check_unchanged(&self, stamp: &str) -> anyhow::Result<()> {
        if tokio::task::block_in_place(|| self.found.stamp()) == stamp {
            return Ok(());
        }
        anyhow::bail!(
            "{}: the data changed while it was read: nothing is written; run the same command again, what is rated is kept",
            plain(&self.args.dataset)
        )
    }
}

/// Opens a file of scores.
pub(super) async fn open_scores(path: &Path) -> anyhow::Result<ScoresFile> {
    Ok(ScoresFile::open(&path.to_string_lossy(), Arc::new(settings::hub()?)).await?)
}
