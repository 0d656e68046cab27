//! llama.cpp's real server and a tiny model of our own making; and scripts that stand in for a server that is broken.
//!
//! `tests/llama/get.sh` gets the server; where it cannot be had the tests that need it say "skipped". The model
//! (`make_tiny_gguf.py`) gives higher scores to texts with words such as "excellent" than to ones with "terrible".

mod broken;

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::standin::{Action, Config, Rule, Script};
use crate::world::{Run, World};

/// One thread, or it waits more than it computes on a busy machine.
const ARGS: &str = "-t 1";
const LOG: [&str; 4] = ["--log", "log.jsonl", "--log-level", "debug"];
const SUMMARY: [&str; 5] = ["summary", "rows.jsonl", "text", "--format", "json"];

/// Servers that run for tests here: each wants a whole processor.
static BUSY: Mutex<usize> = Mutex::new(0);
static FREE: Condvar = Condvar::new();

/// A processor, as far as the tests here go. Who wants one waits until one is free.
struct Processor;

impl Processor {
    fn take() -> Self {
        let all = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let busy = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
        let mut busy = FREE.wait_while(busy, |busy| *busy >= all).unwrap_or_else(PoisonError::into_inner);
        *busy += 1;
        Self
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        *BUSY.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        FREE.notify_one();
    }
}

/// A world with a model and rows, and the real server.
struct Llama {
    world: World,
    server: PathBuf,
    _processor: Processor,
}

/// The real server: what `LLAMA_SERVER` names, what the script has got, or the one in `PATH`.
fn server() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let got = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/llama/llama-server");
    std::env::var_os("LLAMA_SERVER")
        .map(PathBuf::from)
        .into_iter()
        .chain([got])
        .chain(std::env::split_paths(&path).map(|folder| folder.join("llama-server")))
        .find(|path| path.is_file())
}

impl Llama {
    /// None, with a word, where there is no server.
    #[expect(clippy::print_stdout, reason = "a test that did not run has to say so")]
    fn new(rows: usize) -> Option<Self> {
        let Some(server) = server() else {
            println!("skipped: there is no llama-server here (tests/llama/get.sh gets one)");
            return None;
        };
        let processor = Processor::take();
        let world = World::new();
        fs::copy(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/llama/tiny.gguf"),
            world.path("tiny.gguf"),
        )
        .unwrap();
        let lines: Vec<String> = (0..rows).map(|row| json!({"text": text(row)}).to_string()).collect();
        world.write("rows.jsonl", lines.join("\n"));
        Some(Self { world, server, _processor: processor })
    }

    /// The program told to rate the rows with the model's file.
    fn command(&self, more: &[&str]) -> Command {
        let model = self.world.path("tiny.gguf");
        self.with(&[&["--model", model.to_str().unwrap(), "--llama-args", ARGS], more].concat())
    }

    /// The program told to rate the rows, with these arguments.
    fn with(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.command(&[&SUMMARY[..], arguments].concat());
        command.env("LLAMA_SERVER", &self.server);
        command
    }

    fn run(&self, more: &[&str]) -> Run {
        Run::of(self.command(more).output().unwrap())
    }

    /// Starts the program with a log, and with a key that is not for the server.
    fn start(&self) -> Child {
        let mut command = self.command(&LOG);
        command.env("OPENAI_API_KEY", "sk-of-another").stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// The servers that run for this world, by their numbers.
    fn servers(&self) -> Vec<u32> {
        let model = self.world.path("tiny.gguf");
        let model = model.to_str().unwrap().as_bytes();
        fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
            .filter(|pid| {
                // A process that has ended has no arguments.
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
                words.contains(&&b"--alias"[..]) && words.contains(&model)
            })
            .collect()
    }

    /// Questions that were answered so far, in all runs that have a log.
    fn answered(&self) -> usize {
        fs::read_to_string(self.world.path("log.jsonl")).map_or(0, |log| log.matches("\"answered\"").count())
    }

    /// Waits until so many more questions are answered.
    fn until_answered(&self, more: usize) {
        let before = self.answered();
        until("questions are answered", || self.answered() >= before + more);
    }

    #[track_caller]
    fn gone(&self) {
        until("the server is gone", || self.servers().is_empty());
    }

    /// Ratings in the store.
    fn kept(&self) -> u64 {
        if !self.world.path(".local/share/classified/ratings.db").exists() {
            return 0;
        }
        let stats = self.world.run(&["cache", "stats", "--format", "json"]).exits(0).json();
        stats["ratings"].as_u64().unwrap()
    }
}

/// A short text, good or bad by turns.
fn text(row: usize) -> String {
    let word = if row.is_multiple_of(2) { "excellent and superb" } else { "terrible and awful" };
    format!("Row {row} is {word}: the number of ways to order a set grows with every element, {word}.")
}

#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_mins(5), "it never came that {what}");
        // Between two looks the machine is the server's.
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap().success());
}

/// The mean overall score of the rows with this remainder.
fn mean(lines: &[Value], remainder: usize) -> f64 {
    let scores: Vec<f64> = lines
        .iter()
        .skip(remainder)
        .step_by(2)
        .map(|line| line["score"]["overall"].as_f64().unwrap())
        .collect();
    scores.iter().sum::<f64>() / scores.len() as f64
}

#[test]
fn a_model_s_file_is_rated_by_a_server_of_our_own() {
    let Some(llama) = Llama::new(16) else { return };
    for (version, reply) in [("1", "tools"), ("2", "json_schema")] {
        // A proxy that nobody could reach: what is on this machine does not go there.
        let mut command = llama.command(&["--reply", reply, "--version", version]);
        command.env_remove("NO_PROXY").env("HTTP_PROXY", "http://127.0.0.1:9");
        let run = Run::of(command.output().unwrap()).exits(0);
        assert_eq!(run.ledger()["rated"], 16, "{}", run.stderr);
        let summary = &run.json()["summaries"][0];
        assert_eq!(summary["model"], "gguf:3d45bde61aae9e74");
        assert_eq!(
            summary["cost"]["usd"].as_f64().or(summary["usage"]["cost"].as_f64()),
            Some(0.0),
            "{summary}"
        );
        let lines = llama.world.lines("rows.jsonl/textbook_quality.jsonl");
        assert!(mean(&lines, 0) > mean(&lines, 1), "{lines:?}");
        assert!(run.stderr.contains("4 slots of"), "{}", run.stderr);
        llama.gone();
    }
    // The file is the model, whatever its name.
    fs::rename(llama.world.path("tiny.gguf"), llama.world.path("other.gguf")).unwrap();
    let mut other = llama.with(&["--model", "other.gguf", "--llama-args", "-t 1 -np 2", "--quiet"]);
    let run = Run::of(other.output().unwrap()).exits(0);
    assert_eq!(run.ledger()["cached"], 16);
    assert!(run.stderr.is_empty(), "{}", run.stderr);
}

#[test]
fn the_server_is_gone_after_every_signal() {
    let Some(llama) = Llama::new(300) else { return };
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let child = llama.start();
        llama.until_answered(2);
        assert_eq!(llama.servers().len(), 1);
        signal(name, child.id());
        let run = Run::of(child.wait_with_output().unwrap()).exits(code);
        assert!(run.ledger()["rated"].as_u64() > Some(0), "{}", run.stdout);
        llama.gone();
    }
    // While it loads: nothing is lost, and nothing stays.
    let child = llama.start();
    until("a server is there", || !llama.servers().is_empty());
    signal("INT", child.id());
    Run::of(child.wait_with_output().unwrap()).exits(130);
    llama.gone();
}

#[test]
fn the_server_is_gone_after_a_kill_at_any_moment() {
    let Some(llama) = Llama::new(300) else { return };
    let mut kept = 0;
    for more in [0, 1, 20] {
        let mut child = llama.start();
        until("a server is there", || !llama.servers().is_empty());
        llama.until_answered(more);
        child.kill().unwrap();
        child.wait().unwrap();
        llama.gone();
        let now = llama.kept();
        // At four slots no more than fifteen questions are begun and not yet kept, however slow the disk.
        assert!(now + 15 >= kept + more as u64, "{now} ratings after {kept}, {more} more were answered");
        kept = now;
    }
}

#[test]
fn a_second_signal_takes_the_server_along_at_once() {
    let Some(llama) = Llama::new(300) else { return };
    let mut child = llama.start();
    llama.until_answered(1);
    until("the run ends", || {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        signal("INT", child.id());
        false
    });
    assert_eq!(child.wait().unwrap().code(), Some(130));
    llama.gone();
}

#[test]
fn a_server_that_dies_in_the_middle_ends_the_run_which_can_go_on() {
    let Some(llama) = Llama::new(60) else { return };
    let child = llama.start();
    // Early, so that most are left however late this is noticed.
    llama.until_answered(1);
    for pid in llama.servers() {
        // What it has of ours: neither keys nor places.
        let environment =
            String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/environ")).unwrap()).into_owned();
        assert!(
            environment.contains("LLAMA_API_KEY=") && !environment.contains("sk-of-another"),
            "{environment}"
        );
        signal("KILL", pid);
    }
    let run = Run::of(child.wait_with_output().unwrap()).exits(1);
    for part in [
        "llama-server ended (signal: 9 (SIGKILL))",
        "if memory ran out",
        "its last words",
        "goes on from there",
    ] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
    let kept = llama.kept();
    assert!((1..60).contains(&kept), "{kept}");
    assert_eq!(run.ledger()["failed"], json!({}), "no row pays for the server: {}", run.stdout);
    let run = llama.run(&[]).exits(0);
    assert_eq!(
        (run.ledger()["cached"].as_u64(), run.ledger()["rated"].as_u64()),
        (Some(kept), Some(60 - kept))
    );
}

/// A server that the user started.
struct Own(Child, String);

impl Own {
    fn start(llama: &Llama, arguments: &[&str]) -> Self {
        let log = llama.world.path("server.log");
        let child = Command::new(&llama.server)
            .arg("-m")
            .arg(llama.world.path("tiny.gguf"))
            .args(["--port", "0", "-t", "1", "--no-webui"])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut url = String::new();
        until("the server listens", || {
            let text = fs::read_to_string(&log).unwrap();
            let Some((_, after)) = text.split_once("listening on ") else { return false };
            let Some((address, _)) = after.split_once('\n') else { return false };
            url = format!("{}/v1", address.trim());
            true
        });
        Self(child, url)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_server_of_the_user_s_is_asked_without_a_key_over_connections_that_it_closes() {
    // It closes a connection after 100 requests.
    let Some(llama) = Llama::new(104) else { return };
    let own = Own::start(&llama, &["-np", "1", "-c", "6144", "--alias", "tiny"]);
    let run = Run::of(
        llama
            .with(&[&LOG[..], &["--reply", "json_schema"]].concat())
            .env("OPENAI_BASE_URL", &own.1)
            .output()
            .unwrap(),
    )
    .exits(0);
    assert_eq!(run.ledger()["rated"], 104);
    assert_eq!(run.json()["summaries"][0]["model"], "tiny");
    let log = fs::read_to_string(llama.world.path("log.jsonl")).unwrap();
    assert_eq!(llama.answered(), 104);
    assert!(!log.contains("not answered"), "no row takes a second attempt: {log}");
}

#[test]
fn a_question_that_does_not_fit_is_a_failed_row_with_the_server_s_numbers() {
    let Some(llama) = Llama::new(3) else { return };
    let long = json!({"text": "the number of ways to order a set ".repeat(150)}).to_string();
    let rows = fs::read_to_string(llama.world.path("rows.jsonl")).unwrap();
    llama.world.write("rows.jsonl", format!("{rows}\n{long}"));
    let mut small = llama.with(&["--model", "tiny.gguf", "--llama-args", "-t 1 -np 1 -c 2048"]);
    let run = Run::of(small.output().unwrap()).exits(3);
    assert_eq!(run.ledger()["rated"], 3, "{}", run.stdout);
    assert!(run.stderr.contains("gives a question 2048 tokens"), "{}", run.stderr);
    let lines = llama.world.lines("rows.jsonl/textbook_quality.jsonl");
    let failure = &lines[3]["failure"];
    assert_eq!(failure["reason"], "too_long", "{failure}");
    assert!(failure["detail"].as_str().unwrap().contains("2048"), "{failure}");
}

#[test]
fn a_template_without_functions_is_asked_for_json() {
    let Some(llama) = Llama::new(4) else { return };
    let mut plain = llama.with(&["--model", "tiny.gguf", "--llama-args", "-t 1 --chat-template chatml"]);
    let run = Run::of(plain.output().unwrap()).exits(0);
    assert!(run.stderr.contains("takes no functions"), "{}", run.stderr);
    assert_eq!(run.ledger()["rated"], 4, "{}", run.stdout);
    let model = run.json()["summaries"][0]["model"].as_str().unwrap().to_owned();
    assert!(model.starts_with("gguf:3d45bde61aae9e74+"), "another template is another model: {model}");
}

#[test]
fn a_model_that_cannot_be_loaded_is_told_with_the_server_s_words() {
    let Some(llama) = Llama::new(1) else { return };
    llama.world.write("tiny.gguf", [&b"GGUF\x03\0\0\0"[..], &[0xff; 100]].concat());
    let run = llama.run(&[]).exits(1);
    assert!(
        run.stderr.contains("the file may be damaged, or newer than this llama-server knows"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("  | ") && run.stderr.contains("failed to load model"), "{}", run.stderr);
    llama.gone();
}

#[test]
fn arguments_that_the_server_does_not_take_are_told() {
    let Some(llama) = Llama::new(1) else { return };
    let mut wrong = llama.with(&["--model", "tiny.gguf", "--llama-args", "--no-such-thing 1"]);
    let run = Run::of(wrong.output().unwrap()).exits(1);
    assert!(run.stderr.contains("check --llama-args"), "{}", run.stderr);
    assert!(run.stderr.contains("--no-such-thing"), "{}", run.stderr);
}

#[test]
fn no_more_is_asked_at_once_than_a_server_has_slots() {
    // Three are asked at once, however slow the machine: before that none has its reply. A fourth has time to come.
    let delay = Duration::from_millis(20);
    let script = Script(vec![Rule::always(Action::Until(3))]);
    let (world, standin) =
        World::with_endpoint(Config { slots: Some(3), delay, script, ..Config::default() });
    world.rows("rows.jsonl", 30);
    world.run(&[&SUMMARY[..], &["--workers", "16"]].concat()).exits(0);
    assert_eq!(standin.counters().in_flight_peak, 3);
}
