//! A world for one test: a folder of its own, the program with a clean environment, and datasets made by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::standin::{Config, Standin};

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
