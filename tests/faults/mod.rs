//! Every fault that an endpoint, a network, a disk or a signal can have, against the whole program.
//!
//! Whatever the fault: nothing is lost but what was in flight, nothing committed is paid for twice, the ledger balances,
//! nothing panics or hangs, and the key is nowhere to be found. [`Trial::sound`] looks at all of that.
//! `docs/faults.md` lists the faults; `table` compares it with the tests.

mod always;
mod bodies;
mod connections;
mod disk;
mod signals;
mod statuses;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Row as _};

use crate::standin::{Action, Config, Rule, Script, Standin};
use crate::world::{Run, World};

/// The key that must not be found anywhere.
const KEY: &str = "sk-faults-5f0c2e71d94b";

/// Rows of a trial, enough to have some in flight, some done and some to come.
const ROWS: usize = 9;

/// The log is one more place in which the key must not be found.
const RATE: [&str; 12] = [
    "summary",
    "rows.jsonl",
    "text",
    "learning_value",
    "--format",
    "json",
    "--workers",
    "4",
    "--log",
    "log.jsonl",
    "--log-level",
    "debug",
];

/// The program and a stand-in that is about to fail.
struct Trial {
    world: World,
    standin: Standin,
}

impl Trial {
    /// Rows and a stand-in with this script, which asks for the key.
    fn new(script: Vec<Rule>) -> Self {
        Self::with(Config { script: Script(script), ..Config::default() })
    }

    fn with(config: Config) -> Self {
        let (world, standin) = World::with_endpoint(Config { api_key: Some(KEY.to_owned()), ..config });
        world.rows("rows.jsonl", ROWS);
        Self { world, standin }
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = self.world.command(&[&RATE[..], more].concat());
        command.env("OPENAI_API_KEY", KEY);
        command
    }

    fn start(&self, more: &[&str]) -> Child {
        self.command(more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Rates, with these further flags, and looks at what must hold of every run.
    #[track_caller]
    fn run(&self, more: &[&str]) -> Run {
        let paid = self.standin.answered();
        let run = Run::of(self.command(more).output().unwrap());
        self.sound_since(&run, &paid);
        run
    }

    /// Rates with a server that is well again: what was committed is not asked for, and all the rest is.
    #[track_caller]
    fn recovers(&self) {
        self.standin.recover();
        // What a program that was killed has sent does not count for the next.
        self.standin.settle();
        let kept = self.committed();
        let paid = self.standin.answered();
        let asked = self.standin.counters().requests;
        let ledger = self.run(&[]).exits(0).ledger();
        assert_eq!((&ledger["cached"], &ledger["rated"]), (&kept.into(), &(ROWS - kept).into()), "{ledger}");
        assert_eq!(
            self.standin.counters().requests - asked,
            (ROWS - kept) as u64,
            "asked more than was missing"
        );
        for (question, times) in &paid {
            if self.questions().contains(question) {
                assert!(self.standin.answered()[question] >= *times);
            }
        }
    }

    /// What holds of every first run, whatever the fault.
    #[track_caller]
    fn sound(&self, run: &Run) {
        self.sound_since(run, &BTreeMap::new());
    }

    /// What holds of every run, whatever the fault; `before` it questions had been answered so often.
    #[track_caller]
    fn sound_since(&self, run: &Run, before: &BTreeMap<u64, u64>) {
        let all = format!("stdout: {}\nstderr: {}", run.stdout, run.stderr);
        assert!(!all.contains("panicked"), "{all}");
        assert!(!all.contains(KEY), "the key is shown: {all}");
        for file in files(&self.world.path("")) {
            let bytes = fs::read(&file).unwrap_or_default();
            let found = memchr::memmem::find(&bytes, KEY.as_bytes());
            assert_eq!(found, None, "the key is in {}", file.display());
        }
        assert!(
            run.stdout.chars().chain(run.stderr.chars()).all(|c| !c.is_control() || c == '\n'),
            "{all:?}"
        );
        let summaries = if run.stdout.is_empty() { Value::Null } else { run.json()["summaries"].clone() };
        let Some(summary) = summaries.get(0) else {
            assert!(run.code != 0 && !run.stderr.is_empty(), "it ended without a word: {all}");
            return;
        };
        let ledger = &summary["ledger"];
        let count = |key: &str| ledger[key].as_u64().unwrap();
        let failed: u64 = ledger["failed"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
        let reached = count("rated") + count("cached") + count("duplicate") + count("empty") + failed;
        // A run that ends before the rows are counted does not know how many it did not reach.
        let left = ledger["not_reached"].as_u64().unwrap_or(ROWS as u64 - reached);
        assert_eq!(reached + left, ROWS as u64, "the ledger does not balance: {ledger}");
        let kept = self.committed() as u64;
        assert!(kept >= count("rated") + count("cached"), "{kept} ratings kept, but {ledger}");
        if [0, 3].contains(&run.code) {
            assert_eq!(kept, count("rated") + count("cached"), "{ledger}");
            let ids: BTreeSet<String> = self
                .world
                .lines("rows.jsonl/learning_value.jsonl")
                .iter()
                .map(|line| line["id"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(ids.len(), ROWS, "rows are missing in the JSONL");
        }
        // A question is paid for more than once only where an attempt's fate was unknown, and the output says so.
        let unknown = summary["usage"]["attempts_with_unknown_bill"].as_u64().unwrap();
        let paid = self.standin.answered();
        let times = |all: &BTreeMap<u64, u64>, question| all.get(question).copied().unwrap_or_default();
        let twice: u64 = self
            .questions()
            .iter()
            .map(|question| (times(&paid, question) - times(before, question)).saturating_sub(1))
            .sum();
        assert!(twice <= unknown, "{twice} paid twice, {unknown} attempts of unknown fate");
    }

    /// Ratings in the store.
    fn committed(&self) -> usize {
        rationales(&self.database()).len()
    }

    /// The questions, by the stand-in's digest, whose answers are in the store.
    fn questions(&self) -> BTreeSet<u64> {
        rationales(&self.database()).iter().filter_map(|text| Standin::question_of(text)).collect()
    }

    fn database(&self) -> PathBuf {
        self.world.path(".local/share/classified/ratings.db")
    }
}

/// The rationales of all answers in a database, as JSON texts; none where there is no database.
fn rationales(database: &Path) -> Vec<String> {
    if !database.exists() {
        return Vec::new();
    }
    blocking(async {
        let options = SqliteConnectOptions::new().filename(database);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let rows = sqlx::query("SELECT rationales FROM answers").fetch_all(&mut connection).await;
        connection.close().await.unwrap();
        // Without the table nothing was ever kept.
        rows.unwrap_or_default().iter().map(|row| row.get(0)).collect()
    })
}

pub(crate) fn blocking<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return vec![folder.to_owned()] };
    entries.flat_map(|entry| files(&entry.unwrap().path())).collect()
}

/// Runs the cases side by side: most of them wait most of the time. All that fail are named.
pub(crate) fn each<T: Sync>(cases: &[T], test: impl Fn(&T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| test(case));
        }
    });
}

/// Five questions meet these once, and are rated all the same: at exit 0 nothing is missing.
fn passes(actions: &[Action], more: &[&str]) {
    each(actions, |action| mended(Rule { times: Some(5), ..Rule::once_per_question(action.clone()) }, more));
}

/// The first two requests meet these, and nothing is missing at the end.
fn burst_passes(actions: &[Action]) {
    each(actions, |action| mended(Rule::first(2, action.clone()), &[]));
}

/// A run under this rule ends as if there were none.
fn mended(rule: Rule, more: &[&str]) {
    let what = format!("{rule:?}");
    // A repair turn is another question to the stand-in: it is answered.
    let repaired = Rule { contains: Some(r#""role":"assistant""#.to_owned()), ..Rule::default() };
    let trial = Trial::new(vec![repaired, rule]);
    let run = trial.run(more);
    assert_eq!(run.code, 0, "{what}: {}{}", run.stdout, run.stderr);
    assert_eq!(run.ledger()["rated"], ROWS, "{what}");
    assert!(trial.standin.counters().requests > ROWS as u64, "it met nothing: {what}");
    trial.recovers();
}

/// One row meets these always and fails for this reason; the others are rated, and the server's recovery mends it.
/// With a number, that row is asked about so often.
fn fails_one_row(cases: &[(Action, &str)], more: &[&str], attempts: Option<usize>) {
    each(cases, |(action, reason)| {
        let trial = Trial::new(vec![only_row_three(action.clone())]);
        let run = trial.run(more);
        let requests = trial.standin.counters().requests;
        assert!(
            attempts.is_none_or(|attempts| requests == (ROWS - 1 + attempts) as u64),
            "{action:?}: {requests}"
        );
        assert_eq!(run.code, 3, "{action:?}: {}{}", run.stdout, run.stderr);
        let ledger = run.ledger();
        let expected = serde_json::json!({*reason: 1});
        assert_eq!((&ledger["failed"], &ledger["rated"]), (&expected, &(ROWS - 1).into()), "{action:?}");
        let lines = trial.world.lines("rows.jsonl/learning_value.jsonl");
        assert!(
            lines[3]["failure"]["detail"].as_str().is_some_and(|detail| detail.len() > 10),
            "{}",
            lines[3]
        );
        trial.recovers();
    });
}

fn only_row_three(action: Action) -> Rule {
    Rule { contains: Some("Row 3.".to_owned()), ..Rule::always(action) }
}

/// Runs the program, ready with its arguments, at the end of a shell script that made room scarce.
#[cfg(unix)]
pub(crate) fn confined(program: &Command, shell: &[&str], script: &str) -> Run {
    let mut command = Command::new(shell[0]);
    command
        .args(&shell[1..])
        .args(["sh", "-c", script, "sh"])
        .arg(program.get_program())
        .args(program.get_args())
        .env_clear()
        .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir(program.get_current_dir().unwrap())
        .stdin(Stdio::null());
    Run::of(command.output().unwrap())
}

/// Waits until something holds; minutes without are a failure.
#[track_caller]
pub(crate) fn until(mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_mins(5), "it never happens");
        // Between two looks the machine is the program's.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends a signal by name.
pub(crate) fn signal(name: &str, child: &Child) {
    // The child may have ended already.
    let _ = Command::new("kill")
        .args([format!("-{name}"), child.id().to_string()])
        .stderr(Stdio::null())
        .status();
}

/// Headers for [`Action::Status`].
fn headers(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
