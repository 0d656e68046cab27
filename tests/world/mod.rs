//! A world for one test: a folder of its own, the program with a clean environment, and datasets made by hand.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::standin::{Action, Config, Rule, Standin};

/// A folder in which the program runs, with nothing of the developer's environment.
pub(crate) struct World {
    folder: TempDir,
    url: Option<String>,
}

/// What a run of the program left.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), url: None }
    }

    /// A world whose endpoint is a stand-in.
    pub(crate) fn with_endpoint(config: Config) -> (Self, Standin) {
        let standin = Standin::start(config);
        let world = Self { url: Some(standin.url()), ..Self::new() };
        (world, standin)
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A JSONL of `rows` different texts in the column `text`.
    pub(crate) fn rows(&self, name: &str, rows: usize) -> PathBuf {
        let lines: Vec<String> =
            (0..rows).map(|row| json!({"text": text(row), "n": row}).to_string()).collect();
        self.write(name, lines.join("\n"))
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_classified"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("NO_PROXY", "*")
            // No test goes to the real Hub.
            .env("HF_HUB_OFFLINE", "1")
            .stdin(Stdio::null());
        if let Some(url) = &self.url {
            command.env("OPENAI_BASE_URL", url);
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().unwrap())
    }

    /// Starts the program without waiting for it.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The lines of a result file below `data/`.
    pub(crate) fn lines(&self, file: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path("data").join(file)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// The JSON document on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// The ledger of the first summary.
    #[track_caller]
    pub(crate) fn ledger(&self) -> Value {
        self.json()["summaries"][0]["ledger"].clone()
    }
}

/// A text of about 200 tokens, different for each row.
pub(crate) fn text(row: usize) -> String {
    let sentence = "The number of ways to order a set grows with every element that joins it, because each new one can stand in any gap. ";
    format!("Row {row}. {}", sentence.repeat(7))
}

/// Until the stand-in is told to hurry: an hour.
pub(crate) const HELD: Action = Action::Delay(3_600_000);

/// A refusal for a limit that the server tells, and of which the next request is within. Where nothing is told the program
/// tries what the limit may be, and goes on with one request a second.
pub(crate) fn limited() -> Action {
    let told = [
        ("retry-after", "0"),
        ("x-ratelimit-limit-requests", "60000"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "1ms"),
    ];
    let headers = told.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Action::Status { code: 429, body: None, headers: headers.into() }
}

/// Rules by which each of several runs, one after the other, gets so many answers and no more: then its workers wait in vain
/// until it is killed. Also the number of requests by which each has come to that.
pub(crate) fn stopped_after(answers: impl IntoIterator<Item = u64>, workers: u64) -> (Vec<Rule>, Vec<u64>) {
    let mut end = 0;
    let stop = |answers| {
        end += answers + workers;
        (Rule { nth: Some(end - workers + 1..=end), ..Rule::always(Action::Hang) }, end)
    };
    answers.into_iter().map(stop).unzip()
}

/// How long a test waits for what surely comes: longer than any machine takes.
const PATIENCE: Duration = Duration::from_mins(5);

/// Waits until the stand-in has been asked so often; a run that never gets there fails the test.
pub(crate) fn until(standin: &Standin, requests: u64) {
    let began = Instant::now();
    while standin.counters().requests < requests {
        assert!(began.elapsed() < PATIENCE, "the run does not ask");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until the program has said these words on stderr; what it says after that line can be read from what is returned.
#[track_caller]
pub(crate) fn until_said(child: &mut Child, words: &str) -> BufReader<ChildStderr> {
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it never says `{words}`");
    }
    stderr
}
