//! `--model path/to/model.gguf`: a llama-server of our own for one run; and what a server of the user's tells of itself.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;

use super::settings::Settings;
use crate::console::Console;
use crate::endpoint::{self, Dialect, Endpoint};
use crate::lens::Lens;
use crate::llama::{self, Arguments, Gguf, Options, Props, Server};
use crate::store::Store;
use crate::{chunk, http};

/// Questions that a server of ours answers at once, where `--workers` says nothing: more share the same processor, and
/// each costs the memory of its context.
const SLOTS: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// How many tokens another tokenizer makes of one of ours, at most: allowed for, not known.
const TOKENS_OF_OURS: usize = 2;

/// Tokens of the words with which a reply that was no answer is sent back.
const REPAIR: usize = 150;

/// Contexts are multiples of this: llama.cpp rounds them up to it.
const CONTEXT_STEP: usize = 256;

/// How long a server of the user's may take to tell of itself.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often the reading of a model's file is told of.
const TELL: Duration = Duration::from_secs(5);

/// Settings that a server of ours has no need of: keys, and where ratings are kept.
const HIDDEN: [&str; 8] = [
    "OPENAI_API_KEY",
    "OPENAI_KEY",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "DATABASE_URL",
    "CLASSIFIED_EXTRA_BODY",
];

/// How a model's file is served.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "llama.cpp")]
pub struct LlamaArgs {
    /// Program that serves the .gguf file that --model names: a path, or a name in PATH
    #[arg(long, env = "LLAMA_SERVER", default_value = "llama-server", value_name = "PROGRAM")]
    pub llama_server: PathBuf,
    /// Arguments that are passed on to it, split like a shell's, such as "-ngl 99 -t 8"
    #[arg(long, env = "CLASSIFIED_LLAMA_ARGS", allow_hyphen_values = true, value_name = "ARGS")]
    pub llama_args: Option<String>,
    /// Seconds that it may take to load the model
    #[arg(long, env = "CLASSIFIED_LLAMA_WAIT", default_value = "600", value_name = "SECONDS")]
    pub llama_wait: NonZeroU32,
}

impl LlamaArgs {
    /// What is passed on.
    pub fn arguments(&self) -> Result<Arguments, llama::Error> {
        Arguments::parse(self.llama_args.as_deref().unwrap_or_default())
    }

    /// The program; a variable that is set to nothing counts as not set.
    fn program(&self) -> PathBuf {
        if self.llama_server.as_os_str().is_empty() {
            "llama-server".into()
        } else {
            self.llama_server.clone()
        }
    }
}

/// Who a model's file is, as the cache key has it: its digest, and what of the arguments makes another model of it.
pub(super) async fn identify(
    settings: &Settings,
    path: &Path,
    store: &Store,
    console: &Console,
) -> anyhow::Result<String> {
    let gguf = Gguf::open(path)?;
    let altering = settings.rater.llama.arguments()?.altering();
    // While path, size and time are the same, so is the file: big ones take minutes to read.
    let stamp = gguf.stamp;
    let name = if let Some(name) = store.remembered_model("gguf", stamp).await? {
        name
    } else {
        let name = llama::name(digest(gguf, console).await?);
        store.remember_model("gguf", stamp, &name).await?;
        name
    };
    Ok(match altering {
        Some(arguments) => format!("{name}+{arguments}"),
        None => name,
    })
}

/// Reads the whole model, and says how far it is.
async fn digest(gguf: Gguf, console: &Console) -> anyhow::Result<crate::rating::question::Digest> {
    let bytes = gguf.bytes;
    let done = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&done);
    let mut reading = tokio::task::spawn_blocking(move || {
        gguf.digest(|n| {
            read.fetch_add(n, Ordering::Relaxed);
        })
    });
    loop {
        match tokio::time::timeout(TELL, &mut reading).await {
            Ok(digest) => return Ok(digest??),
            Err(_) => console.note(&format!(
                "reading the model's file for its digest, which is remembered: {:.1} of {:.1} GB",
                done.load(Ordering::Relaxed) as f64 / 1e9,
                bytes as f64 / 1e9
            )),
        }
    }
}

/// Starts a server for the model at `path`, under this name, that has room for the questions of these lenses.
pub(super) async fn start(
    settings: &Settings,
    (path, name): (&Path, &str),
    forms: &[endpoint::Form],
    lenses: &[Arc<Lens>],
    console: &Console,
) -> anyhow::Result<Server> {
    let args = &settings.rater.llama;
    let chunk = settings.chunks.tokens_per_chunk.get() + 2 * settings.chunks.max_search_distance;
    let context =
        forms.iter().zip(lenses).map(|(form, lens)| context(form, lens, chunk)).max().unwrap_or_default();
    let options = Options {
        program: args.program(),
        model: path.to_owned(),
        alias: name.to_owned(),
        slots: settings.rater.workers.unwrap_or(SLOTS),
        context,
        arguments: args.arguments()?,
        wait: Duration::from_secs(args.llama_wait.get().into()),
        hidden: HIDDEN.to_vec(),
    };
    console.note(&format!(
        "starting {} with {}: {} slots of {context} tokens; its ratings are kept under {name}",
        options.program.display(),
        path.display(),
        options.slots,
    ));
    let server = Server::start(&options, |waited| {
        console.note(&format!("llama-server loads the model: {} s so far", waited.as_secs()));
    })
    .await?;
    if let Some(has) = server.props.context.filter(|has| *has < u64::from(context)) {
        console.warn(&format!(
            "llama-server gives a question {has} tokens, prompt and answer together: longer ones will fail; with fewer \
             TOKENS_PER_CHUNK they are shorter"
        ));
    }
    Ok(server)
}

/// Tokens that one question of a lens may take: twice its rubric, function, template, chunk and repair turn, as other
/// tokenizers make more tokens than ours; then a reply that was no answer, and the doubled room for the next one.
fn context(form: &endpoint::Form, lens: &Lens, chunk: usize) -> u32 {
    let fixed: usize = form.fixed(Dialect::default()).into_iter().map(chunk::count).sum();
    let template = lens.files.get("prompt.jinja").map_or(0, |text| chunk::count(text));
    let room = form.room(2, Dialect::default()) as usize;
    let tokens = TOKENS_OF_OURS * (fixed + template + chunk + REPAIR) + 2 * room;
    u32::try_from(tokens.next_multiple_of(CONTEXT_STEP)).unwrap_or(u32::MAX)
}

/// What the server at an endpoint tells of itself, if it is a llama.cpp that somebody else started. Asked once, and
/// never missed: other servers have no such page.
pub(super) async fn look(endpoint: &Endpoint) -> Option<Props> {
    let options = &endpoint.options;
    // Azure's addresses have a query, and one with a password wants no key beside it.
    if options.hosted || options.base_url.contains(['?', '#', '@']) {
        return None;
    }
    let base = options.base_url.trim_end_matches('/');
    let origin = base.strip_suffix("/v1").unwrap_or(base);
    let client =
        if endpoint.is_local() { http::Client::direct(PATIENCE) } else { http::Client::new(PATIENCE) };
    llama::ask(&client.ok()?, origin, options.key.as_ref()).await
}
