//! A chat endpoint that stands in for a real one: real HTTP/1.1 on loopback, answers made from a digest of the question.
//!
//! Tests start it in their own process with [`Standin::start`]; benchmarks and people start
//! `cargo run --release --example standin`. The same question always gets the same scores, different questions
//! spread over the scale, and a [`Script`] makes it fail in the ways that real servers do.
//!
//! | path | reply |
//! |---|---|
//! | `POST /v1/chat/completions` | a chat completion, or what the script says |
//! | `POST /openai/deployments/NAME/chat/completions?api-version=…` | the same, with the key in `api-key`, as Azure has it |
//! | `GET /v1/models` | the names of [`Config::models`] |
//! | `GET /props` | `{"total_slots":…}` where [`Config::slots`] is set |
//! | `/v1/files…`, `/v1/batches…` | files and batches, where [`Config::batches`] is set: see `batch` |
//! | `GET /health` | `{"status":"ok"}` |
//! | `GET /standin/counters` | [`Counters`] as JSON |
//! | `GET /standin/log` | the last [`Config::log`] requests, as [`Logged`] |

#![expect(clippy::expect_used, reason = "a test whose stand-in cannot start is over")]

mod batch;
mod completion;
mod connection;
mod journal;
mod limit;
mod question;
mod reply;
mod script;
mod service;
mod shape;
mod wire;

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{net::TcpSocket, sync::oneshot};

pub(crate) use batch::{BatchRule, Batches, Fault, Kind, RequestRule, Rules, Twist};
pub(crate) use completion::Says;
pub(crate) use journal::{Counters, Logged};
pub(crate) use limit::{RateLimit, Told, Window};
pub(crate) use script::{Action, Rule, Script};
pub(crate) use wire::Wire;

/// How the stand-in behaves. `Config::default()` answers everything at once, needs no key and logs.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where it listens: 127.0.0.1, or `::1`.
    pub(crate) host: IpAddr,
    /// The port; 0 takes a free one.
    pub(crate) port: u16,
    /// Wait before every completion.
    pub(crate) delay: Duration,
    /// Rules that replace or hold back the default reply.
    pub(crate) script: Script,
    /// Names that `GET /v1/models` lists. Two by default, so that the model is the name asked for.
    pub(crate) models: Vec<String>,
    /// Members added to each of them, such as `shutdown_date`.
    pub(crate) model_details: serde_json::Map<String, serde_json::Value>,
    /// Names that get a 404 `model_not_found`. All others are accepted, as llama.cpp does.
    pub(crate) unknown_models: Vec<String>,
    /// The key asked of every path below `/v1`; without one, none is.
    pub(crate) api_key: Option<String>,
    /// Headers added to every completion that is a 200, such as `x-ratelimit-limit-requests`.
    pub(crate) headers: Vec<(String, String)>,
    /// Slots that `GET /props` tells of, as llama.cpp does; without them that is an unknown path.
    pub(crate) slots: Option<u32>,
    /// Files and batches; without them these are unknown paths.
    pub(crate) batches: Option<Batches>,
    /// How many of the last requests are kept for the log; 0 keeps none and costs nothing.
    pub(crate) log: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            delay: Duration::ZERO,
            script: Script::default(),
            models: vec!["standin-large".to_owned(), "standin-small".to_owned()],
            model_details: serde_json::Map::new(),
            unknown_models: Vec::new(),
            api_key: None,
            headers: Vec::new(),
            slots: None,
            batches: None,
            log: 100_000,
        }
    }
}

/// A running stand-in. It serves from a thread of its own, so it is there for synchronous tests and for child
/// processes too. Dropping it closes the port and every connection.
#[derive(Debug)]
pub(crate) struct Standin {
    address: SocketAddr,
    state: Arc<service::State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Standin {
    /// Binds the port and serves; the port accepts connections when this returns.
    ///
    /// # Panics
    /// Where [`Self::bind`] has an error.
    pub(crate) fn start(config: Config) -> Self {
        Self::bind(config).expect("a stand-in")
    }

    /// [`Self::start`] for those who want to tell the cause: a port that is taken, a status or a header in the
    /// config that is none.
    pub(crate) fn bind(config: Config) -> anyhow::Result<Self> {
        let address = (config.host, config.port);
        let listener =
            TcpListener::bind(address).with_context(|| format!("cannot listen on port {}", config.port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        // One thread: on two cores shared with the program under test a second one costs more than it serves.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let state = Arc::new(service::State::new(config)?);
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = connection::serve(listener, served) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { address, state, stop: Some(stop), thread: Some(thread) })
    }

    /// The base URL for a client: `http://127.0.0.1:PORT/v1`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The base URL for a client that speaks as to Azure, without the query `api-version`.
    pub(crate) fn azure_url(&self, deployment: &str) -> String {
        format!("http://{}/openai/deployments/{deployment}", self.address)
    }

    /// From now on every request gets the default reply, whatever the script says. Requests that it holds are answered,
    /// and a server that is away comes back.
    pub(crate) fn recover(&self) {
        self.state.recover();
    }

    /// Waits until all that clients who are gone have sent is read and counted, and their connections have ended: what
    /// a killed program has sent may come after its death. No client may be left.
    ///
    /// # Panics
    /// When a client stays for a minute.
    pub(crate) fn settle(&self) {
        // Who is away has ended all connections.
        let Ok(mut last) = TcpStream::connect(self.address) else { return };
        // Connections are taken in the order of their coming: when this one has a reply all before it are counted.
        last.write_all(b"GET /standin/counters HTTP/1.1\r\nhost: standin\r\n\r\n")
            .expect("a stand-in that reads");
        last.read_exact(&mut [0]).expect("a stand-in that answers");
        drop(last);
        let began = Instant::now();
        while self.state.connections() > 0 {
            assert!(began.elapsed() < Duration::from_mins(1), "a client of the stand-in stays");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// How often each question was answered by a reply that a client can use, by the digest of its messages. An answer's
    /// text names that digest: see [`Standin::question_of`].
    pub(crate) fn answered(&self) -> BTreeMap<u64, u64> {
        self.state.journal().answered()
    }

    /// The question that an answer of the stand-in belongs to.
    pub(crate) fn question_of(rationale: &str) -> Option<u64> {
        let digest = rationale.split_once("Question ")?.1.get(..16)?;
        u64::from_str_radix(digest, 16).ok()
    }

    /// Waits until so many requests of a kind have arrived: they were read, as far as their rule has them read, and
    /// what they want is done, where their rule lets it be done at once.
    ///
    /// # Panics
    /// When that takes minutes, or the stand-in has no batches.
    pub(crate) fn wait_for(&self, kind: Kind, number: u64) {
        let came = self.room().wait_for(kind, number);
        assert!(came, "no {kind:?} number {number} came");
    }

    /// How many requests of a kind have arrived, as [`Self::wait_for`] has it.
    pub(crate) fn arrived(&self, kind: Kind) -> u64 {
        self.room().count(kind)
    }

    /// From now on nothing takes time: no batch, and no delay of a script or a fault. Those under way end at once.
    pub(crate) fn hurry(&self) {
        self.state.hurry();
    }

    /// All batches in the order in which they were made, as `GET /v1/batches/ID` tells them.
    pub(crate) fn batches(&self) -> Vec<serde_json::Value> {
        self.room().told_batches()
    }

    /// All files that are there in the order in which they came, as `GET /v1/files/ID` tells them.
    pub(crate) fn files(&self) -> Vec<serde_json::Value> {
        self.room().told_files()
    }

    /// The text of a file, if it is there.
    pub(crate) fn file(&self, id: &str) -> Option<String> {
        self.room().text(id)
    }

    fn room(&self) -> &batch::Room {
        self.state.batches().expect("a stand-in with batches")
    }

    /// The port it listens on, for a restart at the same address.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The last [`Config::log`] requests in the order of their arrival.
    pub(crate) fn requests(&self) -> Vec<Logged> {
        self.state.journal().log()
    }

    /// What was counted since the start.
    pub(crate) fn counters(&self) -> Counters {
        self.state.journal().counters()
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The receiver is gone only when the thread has ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic of the serving thread has been printed; a second one in a drop would abort the tests.
            let _ = thread.join();
        }
    }
}

/// A port of 127.0.0.1 at which nobody listens, and which nobody else gets as long as this lives: one that a server has
/// left may be the next that the system gives away.
#[derive(Debug)]
pub(crate) struct Nobody(TcpSocket);

impl Nobody {
    /// Takes a free port.
    ///
    /// # Panics
    /// Where there is none.
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        Self(socket)
    }

    /// Ends a stand-in and takes its port.
    ///
    /// # Panics
    /// Where another process was faster.
    pub(crate) fn after(standin: Standin) -> Self {
        let address = standin.address;
        drop(standin);
        let socket = TcpSocket::new_v4().expect("a socket");
        // Connections of the stand-in linger at this port.
        socket.set_reuseaddr(true).expect("a socket that takes options");
        socket.bind(address).expect("the port that was free a moment ago");
        Self(socket)
    }

    /// The base URL for a client: `http://127.0.0.1:PORT/v1`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.0.local_addr().expect("the address of a bound socket"))
    }
}

#[cfg(test)]
mod tests;
