//! `classified batch write` and `read`: files for runners of one's own, which take what the Batch API takes.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::super::exit::{Exit, usage};
use super::super::rater::{self, Raters};
use super::super::rating::{RatingArgs, list};
use super::super::session::open_all;
use super::super::settings::HEURISTIC;
use super::super::signals::{Signal, Signals};
use super::{Place, find, lock};
use crate::batch::offline::{
    Existing, Of, Read, Rest, Sink, Wanted, Written, read as read_files, write as write_file,
};
use crate::console::{Console, Format, tables};
use crate::dataset::{self, Request, Shape};
use crate::endpoint::batches::{MAX_BYTES, MAX_REQUESTS};
use crate::rate::Rater;

const AFTER_WRITE: &str = "\
Examples:
  classified batch write questions.jsonl rows.jsonl text learning_value --model my/model
  vllm run-batch -i questions.jsonl -o answers.jsonl --model my/model
  classified batch read answers.jsonl

No key and no endpoint is needed. The questions wait until `batch read` has their answers, or `batch cancel` frees them; meanwhile
nobody asks them. What the store can answer already is not written.

Their replies count at half of what --price says, or of what is known of the model: --price 0,0 where nobody bills.";

const AFTER_READ: &str = "\
Reads what `vllm run-batch` and other runners of OpenAI's batch files write, and output and error files of the Batch API that were
downloaded by hand. Each line goes to the batch in which its question waits; a file may be read again. Questions without a line
wait on, as more files may come: --close frees them.

Replies count at half of the price per token that held when their questions were handed over; where none was known then, at half of
--price.";

/// Write the questions of datasets to a file for a runner of your own, such as `vllm run-batch`
#[derive(Debug, Args)]
#[command(after_help = AFTER_WRITE)]
pub(in crate::cli) struct WriteArgs {
    /// File to write the questions to, or `-` for stdout
    file: PathBuf,
    /// Datasets, separated by commas: files, folders, `-` for JSON lines on stdin, or names at the Hugging Face Hub
    dataset: String,
    /// Columns of the data, separated by commas, in the order of the lenses' input fields
    columns: String,
    /// Lenses, separated by commas
    #[arg(default_value = "textbook_quality")]
    lenses: String,
    /// Replace a file of questions that is there; questions that were in it wait on, until `batch cancel` frees them
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    rating: RatingArgs,
}

/// Read what a runner of your own wrote, or files of a batch that were downloaded by hand
#[derive(Debug, Args)]
#[command(after_help = AFTER_READ)]
pub(in crate::cli) struct ReadArgs {
    /// Files of replies
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Only replies of this batch: its number, the first digits of its chance name, or the server's id
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
    /// Free the questions of these batches that have no reply in the files, to be asked again
    #[arg(long)]
    close: bool,
    #[command(flatten)]
    place: Place,
}

/// Writes a file of questions.
pub(super) async fn write(args: WriteArgs) -> anyhow::Result<Exit> {
    let settings = &args.rating.settings;
    settings.log.begin()?;
    let console = settings.output.console();
    settings.rater.check_unasked()?;
    check(&args, console)?;
    let columns = list(&args.columns);
    let (lenses, shape) = rater::open_lenses(&list(&args.lenses), &settings.lens, &columns)?;
    let fields = match (shape, lenses.first()) {
        (Shape::Conversation, Some(lens)) => lens.fields.clone(),
        _ => columns.clone(),
    };
    let existing = if args.force { Existing::Replace } else { Existing::Keep };
    let is_stdout = args.file == Path::new("-");
    if !is_stdout {
        Sink::check(&args.file, existing)?;
    }
    let request = args.rating.request(&columns, shape, console)?;
    let mut found = Vec::new();
    for name in super::super::summary::datasets_of(&args.dataset) {
        found.push(dataset::find(Request { name, ..request.clone() }).await?);
    }
    if found.is_empty() {
        return Err(usage("the dataset is empty: name a file, a folder or a dataset at the Hub"));
    }
    if !is_stdout && found.iter().any(|dataset| dataset.reads(&args.file)) {
        return Err(usage(format!(
            "{} is a file of the dataset, and is not replaced: give another name",
            crate::console::plain(&args.file.to_string_lossy())
        )));
    }
    let datasets = open_all(&found).await?;
    let mut signals = Signals::listen()?;
    let raters = Raters::open_unasked(settings, &lenses, &console).await?;
    raters.tell_of_older_texts(&lenses, args.rating.version, &console).await?;
    let plan = std::sync::Arc::new(raters.plan(&lenses, &fields, args.rating.cuts())?);
    let Rater::Endpoint(asker) = &plan.rater else {
        return Err(usage("there is nobody to write questions for"));
    };
    let _lock = match lock(&asker.store, console, &mut signals).await? {
        Ok(lock) => lock,
        Err(exit) => return Ok(exit),
    };
    let sink = if is_stdout {
        Sink::stream(Box::new(std::io::stdout()))
    } else {
        Sink::create(&args.file, existing)?
    };
    let mut writing = std::pin::pin!(write_file(&plan, datasets, sink, signals.stop()));
    let written = loop {
        tokio::select! {
            written = &mut writing => break written?,
            signal = signals.next() => if let Signal::Again(exit) = signal {
                return Ok(exit);
            },
        }
    };
    let Some(written) = written else {
        console.note("stopped: no file is written, and its questions are free");
        return Ok(signals.exit());
    };
    if written.requests > 0 {
        // So that a run finds the answers also where no endpoint of this name can be reached.
        let (options, url) = (&asker.endpoint.options, asker.endpoint.url_digest());
        if asker.store.remembered_model(&options.model, url).await?.is_none() {
            asker.store.remember_model(&options.model, url, raters.model()).await?;
        }
    }
    show_written(&args, &written, raters.model(), console)?;
    raters.close().await?;
    Ok(Exit::Done)
}

/// What of the flags does not go with a file of questions.
fn check(args: &WriteArgs, console: Console) -> anyhow::Result<()> {
    let settings = &args.rating.settings;
    if settings.rater.model == HEURISTIC {
        return Err(usage(
            "the heuristic is computed here: there are no questions to write; name a model with --model",
        ));
    }
    if settings.rater.gguf().is_some() {
        return Err(usage(
            "--model is a file, which llama.cpp's server answers live: run `classified summary` instead, or give the name under \
             which your runner serves the model",
        ));
    }
    if args.rating.batch.batch {
        return Err(usage(
            "--batch hands questions to an endpoint, and a file is handed to nobody: leave --batch, --wait and --repair-live out",
        ));
    }
    if args.rating.dry_run {
        return Err(usage("--dry-run shows what a run would ask: `classified summary … --dry-run`"));
    }
    if args.file == Path::new("-") && console.format == Format::Json {
        return Err(usage("stdout is where the questions go: leave --format json out, or name a file"));
    }
    Ok(())
}

fn show_written(args: &WriteArgs, written: &Written, model: &str, console: Console) -> anyhow::Result<()> {
    let Written { batches, requests, bytes, elsewhere } = written;
    if *elsewhere > 0 {
        console.note(&format!(
            "{elsewhere} more have no answer, and are not in the file: they wait in other batches, or have failed in one and no \
             run has told of that (`classified batch list` shows the batches)"
        ));
    }
    let is_stdout = args.file == Path::new("-");
    let name = if is_stdout { "stdout".to_owned() } else { args.file.display().to_string() };
    if *requests == 0 {
        console.note("no file is written: there is no question that has no answer and waits nowhere");
    } else {
        if *requests > MAX_REQUESTS || *bytes > MAX_BYTES {
            console.note(&format!(
                "the file is larger than the {MAX_REQUESTS} requests and {} MB that OpenAI takes: it is for runners without such limits",
                MAX_BYTES / 1_000_000
            ));
        }
        console.note(&format!(
            "their ratings are kept as those of {model}: whatever runs the file must serve it under the name {}",
            args.rating.settings.rater.model
        ));
    }
    let told: Vec<Value> = batches
        .iter()
        .map(|batch| {
            json!({"batch": batch.id, "lens": batch.slot.lens, "model": batch.slot.model, "version": batch.slot.version,
                "requests": batch.requests, "bytes": batch.bytes, "tokens": batch.tokens})
        })
        .collect();
    if is_stdout {
        console.note(&format!("{requests} questions in {bytes} bytes"));
        return Ok(());
    }
    console.json(&json!({"v": 1, "command": "batch write", "file": (*requests > 0).then_some(&args.file), "requests": requests,
        "bytes": bytes, "elsewhere": elsewhere, "batches": told}))?;
    if *requests > 0 {
        let rows = batches.iter().map(|batch| {
            vec![
                batch.id.to_string(),
                batch.slot.lens.clone(),
                batch.slot.model.clone(),
                batch.slot.version.to_string(),
                batch.requests.to_string(),
                batch.tokens.to_string(),
            ]
        });
        console.result(&tables::list(
            &["Batch", "Lens", "Model", "Version", "Questions", "Prompt tokens"],
            rows,
        ))?;
        console
            .result(&format!("{requests} questions in {}, {bytes} bytes", crate::console::plain(&name)))?;
    }
    Ok(())
}

/// Reads files of replies.
pub(super) async fn read(args: ReadArgs) -> anyhow::Result<Exit> {
    let Place { rater, output, log, .. } = &args.place;
    log.begin()?;
    let console = output.console();
    let options = rater.endpoint_unasked()?;
    let (store, batches) = args.place.open().await?;
    let mut signals = Signals::listen()?;
    let _lock = match lock(&store, console, &mut signals).await? {
        Ok(lock) => lock,
        Err(exit) => return Ok(exit),
    };
    let wanted = Wanted {
        files: args.files.clone(),
        of: match &args.batch {
            Some(id) => Of::One(find(&batches, id)?.id),
            None => Of::All,
        },
        rest: if args.close { Rest::IsFree } else { Rest::Waits },
    };
    let came = tokio::select! {
        came = read_files(&options, &store, &wanted, |model| rater.price(model)) => came?,
        _ = signals.next() => {
            console.note("what was read so far is kept: the same command reads the rest");
            return Ok(signals.exit());
        }
    };
    show_read(&came, console)?;
    let store_path = store.path.clone();
    store.close().await?;
    if !came.has_ours {
        return Err(usage(format!(
            "none of the {} lines is a reply to a question that waits in a batch of {}, or did: is it another database?",
            came.lines,
            store_path.display()
        )));
    }
    match came.refused {
        Some(words) => Err(anyhow::anyhow!(
            "every question of a batch was refused: {words}; its questions wait on: run the file again, or free them with --close"
        )),
        None => Ok(Exit::Done),
    }
}

fn show_read(came: &Read, console: Console) -> anyhow::Result<()> {
    for (_, gathered, _) in &came.batches {
        gathered.notes.iter().for_each(|note| console.note(note));
    }
    if let Some(odd) = came.odd() {
        let wrong = came.wrong.as_ref().map_or(String::new(), |wrong| format!(" ({wrong})"));
        console.warn(&format!("the files have {odd}{wrong}: passed over"));
    }
    if came.batches.is_empty() && came.has_ours {
        console.urge(&format!(
            "none of the {} lines is for a question that waits: were they read already?",
            came.lines
        ));
    }
    let told: Vec<Value> = came
        .batches
        .iter()
        .map(|(batch, gathered, left)| {
            json!({"batch": batch.id, "lens": batch.slot.lens, "model": batch.slot.model, "version": batch.slot.version,
                "answered": gathered.answered, "failed": gathered.failed, "again": gathered.again + gathered.missing,
                "waiting": left, "cost": gathered.cost, "failure": gathered.why})
        })
        .collect();
    console.json(&json!({"v": 1, "command": "batch read", "lines": came.lines, "unknown": came.unknown,
        "duplicate": came.duplicate, "garbage": came.garbage, "batches": told}))?;
    let rows = came.batches.iter().map(|(batch, gathered, left)| {
        vec![
            batch.id.to_string(),
            batch.slot.lens.clone(),
            batch.slot.model.clone(),
            gathered.answered.to_string(),
            gathered.failed.to_string(),
            (gathered.again + gathered.missing).to_string(),
            left.to_string(),
            gathered.cost.map_or_else(|| "–".to_owned(), |cost| cost.to_string()),
        ]
    });
    if !came.batches.is_empty() {
        console.result(&tables::list(
            &["Batch", "Lens", "Model", "Answered", "Failed", "Again", "Waiting", "Cost"],
            rows,
        ))?;
    }
    if let Some(why) = came.batches.iter().find_map(|(_, gathered, _)| gathered.why.as_ref()) {
        console.note(&format!("the first without an answer: {why}"));
    }
    Ok(())
}
