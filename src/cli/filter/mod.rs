//! `classified filter`: rate what is not rated yet, and write the rows worth keeping.

mod args;
mod job;
mod keep;
mod score;
mod second;
mod show;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::dry_run::DryRun;
use super::exit::{Exit, usage};
use super::history::History;
use super::rater::{self, Cuts, Raters};
use super::rating::{self, Meant, inference};
use super::session::{Ended, Session};
use super::settings::{self, HEURISTIC};
use super::signals::Signals;
use crate::console::{Console, plain};
use crate::dataset::whole::{Form, Whole};
use crate::dataset::{self, Dataset, Found, Request, Shape};
use crate::export::folder::{Begun, Older, Receipt, Work};
use crate::export::scores::{About, ScoresWriter};
use crate::export::shards::{self, Shards};
use crate::export::unrated::Unrated;
use crate::filter::judge::Judge;
use crate::filter::scores::Scores;
use crate::lens::Lens;
use crate::rate::Plan;
use crate::rating::excerpt::Chooser;
use crate::rating::ledger::Ledger;
use crate::rating::run::{Filtered, Meaning};
use crate::rating::summary::Summary;

pub(super) use args::FilterArgs;
use args::{Scoring, To};
use keep::{Adding, Kept, Sink};
use second::{Second, open_scores};

/// Rates what is to be rated, judges, and writes what is kept.
pub(super) async fn run(args: FilterArgs) -> anyhow::Result<Exit> {
    let settings = &args.rating.settings;
    settings.log.begin()?;
    let console = settings.output.console();
    match args.scoring()? {
        Scoring::Rate { columns, lenses } => rated(&args, &columns, &lenses, console).await,
        Scoring::File(file) => given(&args, Some(&file), console).await,
        Scoring::Columns => given(&args, None, console).await,
    }
}

/// Everything that is known before a row is read for good.
struct Prepared {
    whole: Whole,
    form: Form,
    judge: Judge,
    /// What the dataset is called in the output.
    name: String,
    /// What the data was when the command began.
    stamp: String,
    lenses: Vec<Scores>,
    /// Who rated and which version, as far as it is known.
    raters: Vec<Option<(String, u32)>>,
    adding: Vec<Adding>,
    /// Where the output is made; nowhere in a preview.
    work: Option<Work>,
    sink: Option<Sink>,
}

/// What is to be done about the output.
enum Next {
    Go(Box<Prepared>),
    /// The same job has been done.
    Done(Box<Receipt>),
}

/// Filters by ratings.
async fn rated(
    args: &FilterArgs,
    columns: &[String],
    names: &[String],
    console: Console,
) -> anyhow::Result<Exit> {
    let settings = &args.rating.settings;
    if args.rating.dry_run {
        settings.rater.check_unasked()?;
    } else {
        settings.rater.check()?;
    }
    let (lenses, shape) = rater::open_lenses(names, &settings.lens, columns)?;
    check_first(args, &lenses)?;
    let fields = match (shape, lenses.first()) {
        (Shape::Conversation, Some(lens)) => lens.fields.clone(),
        _ => columns.to_vec(),
    };
    let mut request = Request { name: args.dataset.clone(), ..args.rating.request(columns, shape, console)? };
    if !args.scores_only {
        // Between the two passes rows go by their numbers, whatever the user's column makes of ids.
        request.id = None;
    }
    let found = dataset::find(request).await?;
    let dataset = found.open().await?;
    let cuts = Cuts { first: args.first, ..args.rating.cuts() };
    if args.rating.dry_run {
        let raters = &Raters::open_unasked(settings, &lenses, &console).await?;
        let dry_run =
            DryRun { raters, lenses: &lenses, columns: &fields, cuts, limits: settings.rater.limits() };
        return dry_run.run(vec![dataset], args.rating.sample(), console).await;
    }
    let mut session = match Session::open(&args.rating, (&lenses, &fields), cuts, console).await? {
        Ok(session) => session,
        Err(exit) => return Ok(exit),
    };
    let mut ended = Ended::with(Exit::Done);
    let result = by_ratings(args, (columns, &found), dataset, (&mut session, &mut ended)).await;
    let shown = result.unwrap_or_else(|error| {
        ended.also(error, console);
        Shown::default()
    });
    session.close(&mut ended).await;
    end(args, &shown, ended)
}

/// What there is to show in the end.
#[derive(Default)]
struct Shown {
    summaries: Vec<Summary>,
    kept: Option<Kept>,
    /// What `--first` spared.
    first: Option<show::Spared>,
    /// The output, where one was written or is there already.
    output: Option<PathBuf>,
    /// What the same job has written before.
    done: Option<Box<Receipt>>,
    is_preview: bool,
}

/// Rates the rows, and then judges and writes them.
async fn by_ratings(
    args: &FilterArgs,
    (columns, found): (&[String], &Found),
    dataset: Dataset,
    (session, ended): (&mut Session<'_>, &mut Ended),
) -> anyhow::Result<Shown> {
    let console = args.rating.settings.output.console();
    let plan = session.plan()?;
    let mut meanings: Vec<Meaning> = Vec::new();
    for target in &plan.targets {
        let lines = json!({"id": args.rating.id, "filter": args.meaning_of_cut()});
        let meant = Meant { command: "filter", columns, target, lines };
        meanings.push(args.rating.meaning(meant, &plan, &dataset)?);
    }
    let lenses = score::scores_of(&plan.targets)?;
    let ready = if args.scores_only {
        None
    } else {
        let name = meanings.first().map_or("", |meaning| meaning.dataset.as_str());
        let job = args.job(name, &tokio::task::block_in_place(|| found.stamp()), &meanings, None);
        let raters = plan.targets.iter().map(|target| Some((target.model.clone(), target.version))).collect();
        let next = tokio::select! {
            next = prepare(args, found, (lenses.clone(), raters), job) => next?,
            _ = session.signals.next() => {
                ended.exit = session.signals.exit();
                return Ok(Shown::default());
            }
        };
        match next {
            Next::Go(ready) => Some(ready),
            Next::Done(receipt) => return Ok(done(args, receipt)),
        }
    };
    if let Some(exit) = session.bound(std::slice::from_ref(found), std::slice::from_ref(&dataset)).await? {
        ended.exit = exit;
        return Ok(Shown::default());
    }
    let folder = tempfile::tempdir()?;
    let path = match (&ready, &args.output) {
        (None, Some(output)) => output.clone(),
        (Some(ready), _) if let Some(work) = &ready.work => work.scores_path(),
        _ => folder.path().join("scores.parquet"),
    };
    let about = About {
        dataset: meanings.first().map(|meaning| meaning.dataset.clone()).unwrap_or_default(),
        raters: plan.targets.iter().map(|target| (target.model.clone(), target.version)).collect(),
        first: args.first.map(|score| format!("heuristic:{score}")),
    };
    let older = if args.scores_only && !args.force { Older::Keep } else { Older::Replace };
    // It takes the lock of the scores: a second run of the same ends at once, however long this one waits for batches.
    let writer = ScoresWriter::create(&path, &lenses, &about, older)?;
    if let Some(by_batches) = session.batches(std::slice::from_ref(found)).await? {
        *ended = by_batches;
        return Ok(Shown::default());
    }
    let summaries = summaries(args, &plan, &dataset);
    // A preview is a look, and no run to compare others with.
    let meanings = if args.preview { Vec::new() } else { meanings };
    let history = History::begin(&session.raters, &args.rating, meanings, console).await?;
    let passed = score::pass(session, &plan, dataset, (writer, summaries)).await?;
    *ended = passed.ended;
    if ended.at_once {
        return Ok(Shown::default());
    }
    let spared =
        args.first.map(|at_least| show::Spared::new(at_least, &passed.summaries, passed.cost_of_one));
    let mut shown = Shown { summaries: passed.summaries, first: spared, ..Shown::default() };
    let mut filtered = None;
    if ended.exit == Exit::Done && ended.error.is_none() {
        match judged(args, ready, (found, &path), (session, ended), &mut shown).await {
            Ok(counted) => filtered = counted,
            Err(error) => ended.also(error, console),
        }
    } else if ended.error.is_none() {
        console.note("nothing is written yet: the same command goes on from the ratings that are kept");
    }
    if let Err(error) = history.finish(&shown.summaries, ended, filtered.as_ref(), console).await {
        ended.also(error, console);
    }
    Ok(shown)
}

/// The second pass of rated rows; nothing where too many of them failed, or where only scores are wanted.
async fn judged(
    args: &FilterArgs,
    ready: Option<Box<Prepared>>,
    (found, path): (&Found, &Path),
    (session, ended): (&mut Session<'_>, &mut Ended),
    shown: &mut Shown,
) -> anyhow::Result<Option<Filtered>> {
    let console = args.rating.settings.output.console();
    let allowed = args.rating.fail_above;
    let worst = |share: fn(&Ledger) -> f64| {
        shown.summaries.iter().map(|summary| share(&summary.ledger)).fold(0.0, f64::max)
    };
    let (failed, passing) = (worst(Ledger::failed_share), worst(Ledger::passing_share));
    if failed > allowed {
        ended.exit = Exit::TooManyFailed;
    }
    let Some(ready) = ready else {
        console.note(&format!("scores in {}", path.display()));
        shown.output.clone_from(&args.output);
        if failed > allowed {
            show::too_many(console, (failed, allowed), "the same command asks them again");
        }
        return Ok(None);
    };
    let unrated = |summary: &Summary| summary.ledger.all_failed() + summary.ledger.empty > 0;
    if args.unrated == args::Unrated::Fail && shown.summaries.iter().any(unrated) {
        show::unrated(console, &shown.summaries);
        ended.exit = Exit::TooManyFailed;
        return Ok(None);
    }
    // What failed for the state of the endpoint can be had by asking again; an output without it would be called done.
    if passing > allowed && !args.preview {
        let what = "for reasons that may pass: nothing is written, and the same command asks them again; a larger \
                    --fail-above does without them";
        show::too_many(console, (passing, allowed), what);
        return Ok(None);
    }
    if failed > allowed {
        show::too_many(console, (failed, allowed), "they count as unrated");
    }
    let pass = Second { args, found, scores: Some(path) };
    ended.exit = pass.run(*ready, &mut session.signals, shown).await?.unwrap_or(ended.exit);
    let tally = shown.kept.as_ref().map(|kept| &kept.tally);
    Ok(tally.map(|tally| Filtered {
        kept: tally.written(),
        dropped: tally.all_dropped(),
        unrated: tally.all_unrated() - tally.kept_unrated,
        cut: args.words_of_cut().join(" "),
    }))
}

/// Filters by the scores of a file, or by columns of the data: nothing is rated.
async fn given(args: &FilterArgs, scores: Option<&Path>, console: Console) -> anyhow::Result<Exit> {
    let request =
        Request { name: args.dataset.clone(), ..args.rating.request(&[], Shape::Columns, console)? };
    let mut signals = Signals::listen()?;
    let found = dataset::find(request).await?;
    let (lenses, raters, stamp) = match scores {
        Some(path) => {
            let request = Request::new(&path.to_string_lossy(), Vec::new(), Arc::new(settings::hub()?));
            let stamp = dataset::find(request).await?.stamp();
            let file = open_scores(path).await?;
            let raters = (0..file.scores().len()).map(|lens| rater_of(file.about.as_ref(), lens));
            (file.scores().to_vec(), raters.collect(), Some(stamp))
        }
        None => (Vec::new(), Vec::new(), None),
    };
    let name = rating::name_of(&args.dataset, Path::new(&args.dataset).exists());
    let job = args.job(&name, &tokio::task::block_in_place(|| found.stamp()), &[], stamp.as_deref());
    let next = tokio::select! {
        next = prepare(args, &found, (lenses, raters), job) => next?,
        _ = signals.next() => return Ok(signals.exit()),
    };
    let ready = match next {
        Next::Go(ready) => ready,
        Next::Done(receipt) => return end(args, &done(args, receipt), Ended::with(Exit::Done)),
    };
    let mut shown = Shown::default();
    let pass = Second { args, found: &found, scores };
    let exit = pass.run(*ready, &mut signals, &mut shown).await?;
    end(args, &shown, Ended::with(exit.unwrap_or(Exit::Done)))
}

/// Opens the rows, the judge and the output: what is wrong with the command is found before anything is rated.
async fn prepare(
    args: &FilterArgs,
    found: &Found,
    (lenses, raters): (Vec<Scores>, Vec<Option<(String, u32)>>),
    job: Value,
) -> anyhow::Result<Next> {
    let console = args.rating.settings.output.console();
    if args.score_name.is_some() && lenses.len() != 1 {
        return Err(usage("--score-name names the columns of one lens: there is not exactly one here"));
    }
    let cuts = args.cuts()?;
    let form = match (args.to, args.preview) {
        (To::Parquet, false) => Form::Arrow,
        _ => Form::AsStored,
    };
    let whole = found.whole(form).await?;
    let mut columns = whole.columns.clone();
    if form == Form::AsStored && (args.names_columns() || !lenses.is_empty()) {
        // Rows of JSON declare nothing; only reading them all tells what they have. Where that is too much, the first rows
        // have to do.
        if let Ok(typed) = found.whole(Form::Arrow).await {
            columns = typed.columns;
        }
    }
    let judge = Judge::new(&cuts, &lenses, &columns)?;
    let has = |name: &str| columns.iter().any(|column| column.name == name);
    let adding = keep::adding(&lenses, args.score_name.as_deref(), has);
    if let Some(taken) = adding.iter().find(|adding| has(&adding.name)) {
        return Err(usage(format!(
            "the data has a column {} already: choose another name for the score with --score-name NAME, or judge by that \
             column, with --by row.{0} and without a lens",
            plain(&taken.name)
        )));
    }
    if let Some(id) =
        args.rating.id.as_deref().filter(|id| !has(id.split('.').next().unwrap_or(id)) && !has(id))
    {
        let known: Vec<String> = columns.iter().map(|column| plain(&column.name)).collect();
        return Err(usage(format!(
            "--id: the data has no column {}; it has {}",
            plain(id),
            known.join(", ")
        )));
    }
    let name = job["dataset"].as_str().unwrap_or_default().to_owned();
    let stamp = job["data"].as_str().unwrap_or_default().to_owned();
    let mut ready =
        Prepared { whole, form, judge, name, stamp, lenses, raters, adding, work: None, sink: None };
    let Some(output) = args.output.as_deref().filter(|_| !args.preview) else {
        return Ok(Next::Go(Box::new(ready)));
    };
    let older = if args.force { Older::Replace } else { Older::Keep };
    let work = match tokio::task::block_in_place(|| Work::begin(output, job, older))? {
        Begun::Work(work) => work,
        Begun::Done(receipt) => {
            let unrated = receipt.counts["unrated"].as_u64().filter(|unrated| *unrated > 0);
            let unrated = unrated.map_or_else(String::new, |unrated| {
                format!(" (of its rows {unrated} had no rating; --force asks for them again)")
            });
            console.note(&format!(
                "nothing to do: {} is the output of this very job{unrated}",
                output.display()
            ));
            return Ok(Next::Done(receipt));
        }
    };
    ready.whole.notes.iter().for_each(|note| console.note(note));
    let shards = Shards::create(shards::Options {
        folder: work.data(),
        split: args.split(),
        to: args.to.of_shards(),
        schema: ready.whole.schema.clone(),
        added: ready.adding.iter().map(|adding| (adding.name.clone(), adding.kind)).collect(),
        shard_size: args.shard_size,
    })?;
    shards.notes().iter().for_each(|note| console.note(note));
    let unrated = Unrated::new(work.unrated_path());
    ready.sink = Some(Sink { shards, unrated, adding: ready.adding.clone() });
    ready.work = Some(work);
    Ok(Next::Go(Box::new(ready)))
}

/// Who rated by a lens, and which version, as a file of scores says it.
fn rater_of(about: Option<&Value>, lens: usize) -> Option<(String, u32)> {
    let lens = about?.get("lenses")?.get(lens)?;
    let version = lens.get("version")?.as_u64()?;
    Some((lens.get("model")?.as_str()?.to_owned(), u32::try_from(version).ok()?))
}

/// The same job has been done.
fn done(args: &FilterArgs, receipt: Box<Receipt>) -> Shown {
    Shown { output: args.output.clone(), done: Some(receipt), ..Shown::default() }
}

/// `--first` must be on the lens's scale, and needs somebody dearer after it.
fn check_first(args: &FilterArgs, lenses: &[Arc<Lens>]) -> anyhow::Result<()> {
    let Some(score) = args.first else { return Ok(()) };
    if args.rating.settings.rater.model == HEURISTIC {
        return Err(usage("--first spares a dearer rater: with --model heuristic there is none"));
    }
    match lenses.iter().find(|lens| !(lens.scale.low..=lens.scale.high).contains(&score)) {
        None => Ok(()),
        Some(lens) => Err(usage(format!(
            "--first heuristic:{score}: {score} is not on the scale of lens {}, {} to {}",
            lens.name, lens.scale.low, lens.scale.high
        ))),
    }
}

/// Empty summaries of the dataset, one a lens.
fn summaries(args: &FilterArgs, plan: &Plan, dataset: &Dataset) -> Vec<Summary> {
    let rows = dataset.sampled.or(dataset.rows);
    let one = |target| {
        let mut summary = Summary::new(&dataset.name, target, rows, inference(dataset));
        summary.part = args.rating.part(dataset);
        summary.excerpts = (!args.rating.settings.excerpts.no_excerpts).then(Chooser::default);
        summary
    };
    plan.targets.iter().map(one).collect()
}

/// Shows what there is, and ends the command.
fn end(args: &FilterArgs, shown: &Shown, ended: Ended) -> anyhow::Result<Exit> {
    let console = args.rating.settings.output.console();
    let mut document = show::json(shown, ended.exit.code());
    document["waiting"] = json!(ended.waiting);
    let told = show::show(args, shown, console).and(console.json(&document));
    if ended.exit == Exit::NothingKept {
        console.urge("no row is kept: nothing is written (exit code 6)");
    }
    match ended.error {
        Some(error) => Err(error),
        None => told.map(|()| ended.exit).map_err(Into::into),
    }
}
