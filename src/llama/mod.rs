//! llama.cpp's server: one of our own that is there while we are, and what any such server tells of itself.

mod arguments;
mod child;
mod gguf;
mod props;
#[cfg(all(test, target_os = "linux"))]
mod tests;

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};

use crate::http::{Client, HeaderMap, plain};

pub use arguments::Arguments;
use child::Child;
pub use gguf::{Gguf, name};
pub use props::{Props, ask};

/// How long a request for the server's health or properties may take: it answers both between two batches, which a big
/// model on a slow machine computes for seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pause between two looks whether the server is ready.
const LOOK: Duration = Duration::from_millis(100);

/// How often waiting is told of.
const TELL: Duration = Duration::from_secs(5);

/// How often another port is tried: between our choice and the server's start somebody else can take one.
const PORTS: usize = 3;

/// What can go wrong with a server of our own.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not there, or may not be run.
    #[error(
        "cannot start {}: {source}; install llama.cpp (it comes as a package and as a release for most systems), and name its \
         llama-server with --llama-server or LLAMA_SERVER where it is not in PATH; or start one yourself and set OPENAI_BASE_URL",
        program.display()
    )]
    Program {
        /// What was to be run.
        program: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The model's file cannot be read.
    #[error("cannot read the model {}: {source}; give the path of a .gguf file", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("{} is not a GGUF file: it does not begin with `GGUF`; download it again, or give another", .0.display())]
    NotGguf(PathBuf),
    /// A part of a model in several files that is not the first.
    #[error("{} is part {part} of a model in several files; give the first of them", path.display())]
    NotTheFirst {
        /// The file.
        path: PathBuf,
        /// Its number.
        part: u32,
    },
    /// The arguments cannot be passed on.
    #[error("--llama-args: {0}")]
    Arguments(String),
    /// The server ended by itself.
    #[error("llama-server ended ({}); {}{words}", how(*.status), advice(.words, *.status))]
    Ended {
        /// How.
        status: Option<ExitStatus>,
        /// The last lines that it wrote.
        words: Words,
    },
    /// The server runs and does not get ready.
    #[error(
        "llama-server is not ready after {} s ({state}); give it more time with --llama-wait, or take a smaller model{words}",
        .waited.as_secs()
    )]
    NotReady {
        /// How long it was waited for.
        waited: Duration,
        /// What it answered last.
        state: String,
        /// The last lines that it wrote.
        words: Words,
    },
    /// No way to talk to it.
    #[error("cannot prepare connections: {0}")]
    Client(#[from] crate::http::Error),
}

impl Error {
    /// Whether the user has to change the command or a setting.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Program { .. }
            | Self::File { .. }
            | Self::NotGguf(_)
            | Self::NotTheFirst { .. }
            | Self::Arguments(_) => true,
            Self::Ended { .. } | Self::NotReady { .. } | Self::Client(_) => false,
        }
    }
}

/// The last lines that a server wrote, harmless: it may quote anything.
#[derive(Debug, Clone, Default)]
pub struct Words(String);

/// Lines that are shown of a server's log.
const SHOWN_LINES: usize = 12;

impl Words {
    /// The last lines of a log.
    fn of(log: &[u8]) -> Self {
        let text = String::from_utf8_lossy(log);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)).map(|line| plain(line));
        Self(last.collect::<Vec<_>>().join("\n"))
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(f, "; it wrote nothing");
        }
        write!(f, "; its last words:")?;
        self.0.lines().try_for_each(|line| write!(f, "\n  | {line}"))
    }
}

/// How a process ended, in a few words.
fn how(status: Option<ExitStatus>) -> String {
    status.map_or("nobody knows how".to_owned(), |status| status.to_string())
}

/// What to change, by what the server said.
fn advice(words: &Words, status: Option<ExitStatus>) -> &'static str {
    let says = |parts: &[&str]| parts.iter().any(|part| words.0.contains(part));
    #[cfg(unix)]
    let killed = std::os::unix::process::ExitStatusExt::signal(&status.unwrap_or_default()) == Some(9);
    #[cfg(not(unix))]
    let killed = status.is_none();
    if says(&["invalid argument", "error while handling argument", "unknown argument"]) {
        "check --llama-args: this llama-server does not take one of them"
    } else if killed || says(&["out of memory", "failed to allocate", "bad_alloc", "unable to allocate"]) {
        "if memory ran out, take a smaller model, fewer --workers or fewer TOKENS_PER_CHUNK"
    } else if says(&["couldn't bind"]) {
        "it could not listen on 127.0.0.1"
    } else if says(&["failed to load model", "error loading model", "unknown model architecture"]) {
        "the file may be damaged, or newer than this llama-server knows"
    } else {
        "its log says why"
    }
}

/// What a server of our own is started with.
#[derive(Debug)]
pub struct Options {
    /// The program: a path, or a name that is looked for in `PATH`.
    pub program: PathBuf,
    /// The model.
    pub model: PathBuf,
    /// The name under which it answers.
    pub alias: String,
    /// How many questions it answers at once (`-np`).
    pub slots: NonZeroUsize,
    /// Tokens that each of them may take, prompt and answer together; `-c` is this times the slots.
    pub context: u32,
    /// What is passed on. It comes last, so that it wins.
    pub arguments: Arguments,
    /// How long it may take to load.
    pub wait: Duration,
    /// Variables of our environment that it does not get: keys and tokens.
    pub hidden: Vec<&'static str>,
}

/// A server of our own, ready. It is gone when this is dropped, and when this process is gone (on Linux however that
/// ends; elsewhere not where it is killed by SIGKILL).
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: Address,
    /// What it says of itself.
    pub props: Props,
}

impl Server {
    /// Starts a server and waits until it is ready; every few seconds `tell` learns for how long that has been.
    ///
    /// The port is a free one. Where somebody else takes it before the server does, another is tried.
    pub async fn start(options: &Options, mut tell: impl FnMut(Duration)) -> Result<Self, Error> {
        let client = Client::direct(PATIENCE)?;
        let mut tries = 1;
        loop {
            let begun = Self::begin(options, &client, &mut tell).await;
            match begun {
                Err(Error::Ended { words, .. }) if tries < PORTS && words.0.contains("couldn't bind") => {
                    tries += 1
                }
                done => return done,
            }
        }
    }

    async fn begin(
        options: &Options,
        client: &Client,
        tell: &mut impl FnMut(Duration),
    ) -> Result<Self, Error> {
        let address = Address { port: free_port(), key: random_key() };
        let mut child = Child::start(command(options, &address))
            .map_err(|source| Error::Program { program: options.program.clone(), source })?;
        let ready = tokio::select! {
            ready = ready(&address, options, client, tell) => Some(ready),
            () = child.ended() => None,
        };
        match ready {
            Some(Ok(props)) => Ok(Self { child, address, props }),
            Some(Err(state)) => Err(Error::NotReady { waited: options.wait, state, words: child.words() }),
            None => Err(Error::Ended { status: child.status(), words: child.words() }),
        }
    }

    /// The base URL for chat completions.
    pub fn url(&self) -> String {
        format!("{}/v1", self.address.url())
    }

    /// The key that this server asks for: other users of this machine, and pages in a browser, have it not.
    pub fn key(&self) -> SecretString {
        self.address.key.clone()
    }

    /// Waits until the server ends by itself, and says how.
    pub async fn ended(&self) -> Error {
        let mut watch = self.child.watch();
        // An error means that its thread is gone, and the server with it.
        let _ = watch.wait_for(Option::is_some).await;
        Error::Ended { status: self.child.status(), words: self.child.words() }
    }

    /// Ends the server now, without the time that it has otherwise to finish.
    pub fn kill(&self) {
        self.child.kill();
    }
}

/// Where a server of our own listens, and the key that it asks for.
#[derive(Debug)]
struct Address {
    port: u16,
    key: SecretString,
}

impl Address {
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Waits until the server is ready; the error is what it answered last. At first nobody listens, then it says 503 to
/// everything while it loads the model.
async fn ready(
    address: &Address,
    options: &Options,
    client: &Client,
    tell: &mut impl FnMut(Duration),
) -> Result<Props, String> {
    let url = address.url();
    let began = Instant::now();
    let mut told = began;
    loop {
        let state = match client.get(&format!("{url}/health"), HeaderMap::new()).await {
            Ok(reply) if reply.status.is_success() => {
                // Health is told to everybody; properties only to who has the key, which is ours alone.
                let props = ask(client, &url, Some(&address.key)).await;
                let ours = |props: &Props| props.alias.as_ref().is_none_or(|alias| *alias == options.alias);
                if let Some(props) = props.filter(ours) {
                    return Ok(props);
                }
                "another server answers on its port".to_owned()
            }
            Ok(reply) if reply.status.as_u16() == 503 => "it still loads the model".to_owned(),
            Ok(reply) => format!("it says HTTP {} to GET /health", reply.status.as_u16()),
            Err(error) => format!("it does not answer: {error}"),
        };
        if began.elapsed() >= options.wait {
            return Err(state);
        }
        if told.elapsed() >= TELL {
            told = Instant::now();
            tell(began.elapsed());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The command line of a server. Only what every version knows is a flag: an unknown one would end it. What is good to
/// have goes into the environment, where versions that do not know it pass it over.
fn command(options: &Options, Address { port, key }: &Address) -> std::process::Command {
    let slots = options.slots.get();
    let context = u64::from(options.context) * slots as u64;
    let mut command = std::process::Command::new(&options.program);
    command
        .arg("-m")
        .arg(&options.model)
        .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--alias", &options.alias])
        .args(["-np", &slots.to_string(), "-c", &context.to_string()])
        .args(options.arguments.words())
        .env("LLAMA_API_KEY", key.expose_secret())
        .env("LLAMA_ARG_OFFLINE", "1")
        .env("LLAMA_ARG_UI", "0")
        .env("LLAMA_ARG_NO_WEBUI", "1");
    for name in &options.hidden {
        command.env_remove(name);
    }
    command
}

/// A port of 127.0.0.1 that is free now; 0, which no client reaches, where there is none.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_or(0, |address| address.port())
}

/// 128 bits that others do not know: the standard library seeds its hashers from the system's random numbers.
fn random_key() -> SecretString {
    let half = || RandomState::new().build_hasher().finish();
    SecretString::from(format!("{:016x}{:016x}", half(), half()))
}
