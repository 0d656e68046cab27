//! Which part of a dataset is meant, and how it is fetched: flags that several commands share.

use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;

use super::settings;
use crate::console::Console;
use crate::dataset::{Access, Listener, News, Request};
use crate::hub::Hub;

/// Which part of a dataset is meant, and how it is fetched.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Dataset")]
pub(super) struct SourceArgs {
    /// Config of the dataset [default: the one that its card makes the default]
    #[arg(long, value_name = "NAME")]
    pub(super) config: Option<String>,
    /// Split of the dataset: a name, several as `train+test`, or `all` [default: train]
    #[arg(long, value_name = "NAME")]
    pub(super) split: Option<String>,
    /// Branch, tag or commit of a dataset at the Hub [default: main]
    #[arg(long, value_name = "NAME")]
    pub(super) revision: Option<String>,
    /// Read what is needed over the network instead of downloading the files first; local files are always read so
    #[arg(long)]
    pub(super) stream: bool,
}

impl SourceArgs {
    /// A request for these columns of a dataset yet to be named.
    pub(super) fn request(&self, columns: Vec<String>, console: Console) -> anyhow::Result<Request> {
        Ok(Request {
            config: self.config.clone(),
            split: self.split.clone(),
            revision: self.revision.clone(),
            access: if self.stream { Access::Stream } else { Access::Download },
            listener: listener(console),
            ..Request::new("", columns, Arc::new(settings::hub()?))
        })
    }
}

/// Shows what goes on while datasets are opened.
fn listener(console: Console) -> Listener {
    let transfer = Mutex::new(console.transfer());
    Listener::new(move |news| match news {
        News::Note(text) => console.note(text),
        News::Download { done, total } => {
            transfer.lock().unwrap_or_else(PoisonError::into_inner).show(*done, *total);
        }
    })
}

/// What was fetched from the Hub, in a sentence.
pub(super) fn traffic(hub: &Hub) -> String {
    let traffic = hub.traffic();
    format!("from the Hub: {} requests, {}", traffic.requests, size(traffic.bytes))
}

/// A number of bytes, for people.
pub(super) fn size(bytes: u64) -> String {
    let some = bytes as f64;
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..1_000_000 => format!("{:.0} kB", some / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", some / 1e6),
        _ => format!("{:.2} GB", some / 1e9),
    }
}
