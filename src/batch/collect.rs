//! The files that a batch has left, from the server to the store: read again from the start where a download breaks off.

use bytes::Bytes;

pub use super::intake::Gathered;
use super::intake::{GROUP, GROUP_BYTES, Intake, Seen};
use super::reader::{Reader, lessons_of, read_dialect};
use super::{Error, may_pass, pause_after};
use crate::endpoint::batches::{Counts, RemoteBatch, Status};
use crate::endpoint::{Endpoint, Refusal, Trouble};
use crate::http::plain;
use crate::model::Price;
use crate::rate::retry::Policy;
use crate::rating::failure::{Failure, Reason};
use crate::store::{Batch, Store};

/// How often a file is asked for that is not there: where a batch has just ended, it may be a moment later.
const GONE: u32 = 3;

/// Lines of a file beyond three for each request of the batch, until it is taken for one without an end.
const SPARE_LINES: u64 = 1_000;

/// Keeps what a batch that has ended has left, and ends it in the store. `price` is that of its model at the standard tier.
///
/// Where its files are missing or cannot be read, its questions wait on, and the error is [`Error::Unreadable`]: nobody asks and pays
/// again for what may still be read.
///
/// May be called again after a kill, or when it failed: what is kept is passed over. Where all questions would be refused as these
/// were, it keeps what there is, frees the rest, and then returns [`Error::Stopped`].
pub async fn collect(
    endpoint: &Endpoint,
    store: &Store,
    batch: &Batch,
    remote: &RemoteBatch,
    price: Option<Price>,
) -> Result<Gathered, Error> {
    let url = lessons_of(batch.url);
    let learned = store.lesson(url, &batch.slot.model).await?.dialect;
    let reader = Reader::new(&endpoint.options, batch, price, learned.as_deref().map(read_dialect))?;
    let mut intake = Intake::new(store, batch, reader);
    if let Some(missing) = missing(remote) {
        return Err(Error::unreadable(batch, &missing));
    }
    // Some servers always name a file of errors, and replies that they count must be somewhere.
    let files = [(&remote.output_file, remote.counts.completed > 0), (&remote.error_file, false)];
    for (file, has_lines) in files {
        if let Some(file) = file {
            download(endpoint, &mut intake, (file, has_lines)).await?;
        }
    }
    let taught = intake.reader.dialect();
    let is_new = intake.has_taught();
    let gathered = intake.finish(&rest(remote)).await;
    // Also where it ends in an error: who goes on asks in the form that is known by now.
    if is_new && batch.asked == endpoint.options.model {
        endpoint.begin_with(taught);
    }
    gathered
}

/// Which files there must be that the server does not name.
fn missing(remote: &RemoteBatch) -> Option<String> {
    let Counts { completed, failed, .. } = remote.counts;
    let has_none = remote.output_file.is_none() && remote.error_file.is_none();
    let what = if remote.output_file.is_none() && completed > 0 {
        format!("names no file of replies, though it counts {completed}")
    } else if has_none && failed > 0 {
        format!("names no file of errors, though it counts {failed}")
    } else if has_none && remote.status == Status::Completed {
        "names no file".to_owned()
    } else {
        return None;
    };
    Some(format!("the endpoint says that it is {}, and {what}", remote.status.as_str()))
}

/// Why a question of a batch that has ended has no line.
fn rest(remote: &RemoteBatch) -> Failure {
    let detail = match &remote.status {
        Status::Failed => "the server rejected the batch's file",
        Status::Expired => "was not run: the batch expired",
        Status::Cancelled | Status::Cancelling => "was not run: the batch was cancelled",
        _ => {
            return Failure::new(
                Reason::Connection,
                "the batch has no line for it in its files; it may have been billed",
            );
        }
    };
    Failure::new(Reason::Timeout, detail)
}

/// Reads a file of the batch from the endpoint, again from its start when it breaks off.
async fn download(
    endpoint: &Endpoint,
    intake: &mut Intake<'_>,
    (file, has_lines): (&str, bool),
) -> Result<(), Error> {
    let mut pauses = Policy::default().pauses();
    let mut gone = 0;
    loop {
        let trouble = match read(endpoint, intake, file).await? {
            // A page of a proxy's, an error with status 200: what is paid for is not given up for them.
            Ok(seen) if seen.has_nothing_but_garbage() || has_lines && seen.is_empty() => {
                Trouble::Garbled("the reply has no line of a batch's file".to_owned())
            }
            Ok(seen) => {
                intake.count(&seen);
                return Ok(());
            }
            Err(trouble) => trouble,
        };
        let pause = match &trouble {
            Trouble::Refused(Refusal { status: 404 | 410, .. }) => {
                gone += 1;
                pauses.next().filter(|_| gone < GONE)
            }
            Trouble::Refused(refusal) if refusal.status == 401 => {
                return Err(Error::Stopped(endpoint.bad_key(refusal)));
            }
            trouble => pause_after(trouble, &mut pauses),
        };
        let Some(pause) = pause else { return Err(broken(intake.batch, file, &trouble)) };
        tokio::time::sleep(pause).await;
    }
}

/// What a file comes to that is not read: one that the endpoint only has no time for is read later.
fn broken(batch: &Batch, file: &str, trouble: &Trouble) -> Error {
    let problem = format!("the file {file}: {trouble}");
    match trouble {
        Trouble::Refused(_) if !may_pass(trouble) => Error::unreadable(batch, &problem),
        Trouble::Garbled(_) => Error::unreadable(batch, &problem),
        Trouble::Refused(_) | Trouble::Transport(_) => Error::Trouble(format!(
            "the replies of batch {} cannot be read now: {}",
            batch.id,
            plain(&problem)
        )),
    }
}

/// Reads a file of the batch once, from its start.
async fn read(
    endpoint: &Endpoint,
    intake: &mut Intake<'_>,
    file: &str,
) -> Result<Result<Seen, Trouble>, Error> {
    let mut lines = match endpoint.content(file).await {
        Ok(lines) => lines,
        Err(trouble) => return Ok(Err(trouble)),
    };
    let mut seen = Seen::default();
    let mut group: Vec<Bytes> = Vec::new();
    let (mut bytes, mut count) = (0, 0);
    let most = intake.batch.requests.saturating_mul(3).saturating_add(SPARE_LINES);
    loop {
        let line = match lines.next().await {
            Ok(line) => line,
            Err(trouble) => {
                // What came whole is kept: it is not read twice for nothing where the next try fails too.
                intake.take(&group, &mut seen).await?;
                return Ok(Err(trouble));
            }
        };
        let is_end = line.is_none();
        count += 1;
        if count > most && !is_end {
            return Err(Error::unreadable(
                intake.batch,
                &format!("the file {file} has more than {most} lines for {} requests", intake.batch.requests),
            ));
        }
        if let Some(line) = line.filter(|line| !line.trim_ascii().is_empty()) {
            bytes += line.len();
            group.push(line);
        }
        if is_end || group.len() == GROUP || bytes > GROUP_BYTES {
            intake.take(&group, &mut seen).await?;
            group.clear();
            bytes = 0;
        }
        if is_end {
            return Ok(Ok(seen));
        }
    }
}
