//! A server of our own, played by shell scripts, and by replies as llama.cpp gives them.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

/// A folder with a program in it.
struct Script {
    folder: tempfile::TempDir,
}

impl Script {
    fn new(lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server");
        std::fs::write(&path, format!("#!/bin/sh\ncd {}\n{lines}\n", folder.path().display())).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn options(&self) -> Options {
        options(&self.path("server"))
    }

    /// The process whose number the script left in this file, which a shell may be about to write.
    fn process(&self, file: &str) -> PathBuf {
        loop {
            if let Ok(text) = std::fs::read_to_string(self.path(file))
                && text.ends_with('\n')
            {
                return Path::new("/proc").join(text.trim());
            }
            std::thread::yield_now();
        }
    }
}

fn options(program: &Path) -> Options {
    Options {
        program: program.to_owned(),
        model: PathBuf::from("m.gguf"),
        alias: "gguf:0123".to_owned(),
        slots: NonZeroUsize::new(3).unwrap(),
        context: 2048,
        arguments: Arguments::parse("-t 1 -c 99").unwrap(),
        wait: Duration::ZERO,
        hidden: vec!["PATH"],
    }
}

async fn refused(options: &Options) -> Error {
    Server::start(options, |_| {}).await.unwrap_err()
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_with_the_ways_out() {
    let error = refused(&options(Path::new("/nonexistent/llama-server"))).await;
    let text = error.to_string();
    assert!(error.is_usage());
    for part in ["/nonexistent/llama-server", "install llama.cpp", "LLAMA_SERVER", "OPENAI_BASE_URL"] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn a_server_that_ends_is_quoted_without_its_control_characters() {
    let script = Script::new(r"printf 'loading\n\033[31mred\200\n' >&2; echo 'failed to load model'; exit 3");
    let options = Options { wait: Duration::from_mins(1), ..script.options() };
    let error = refused(&options).await;
    assert_eq!(
        error.to_string(),
        "llama-server ended (exit status: 3); the file may be damaged, or newer than this llama-server knows; its last words:\n  \
         | loading\n  | \\u{1b}[31mred\u{fffd}\n  | failed to load model"
    );
    assert!(!error.is_usage());
}

#[tokio::test]
async fn a_server_that_says_nothing_is_told_so() {
    let script = Script::new("kill -9 $$");
    let options = Options { wait: Duration::from_mins(1), ..script.options() };
    assert_eq!(
        refused(&options).await.to_string(),
        "llama-server ended (signal: 9 (SIGKILL)); if memory ran out, take a smaller model, fewer --workers or fewer TOKENS_PER_CHUNK; \
         it wrote nothing"
    );
}

#[tokio::test]
async fn a_server_that_never_listens_is_given_up_and_gone() {
    // The number is there whole or not at all: between opening a file and writing it the script may be killed.
    let script = Script::new("echo $$ > part; /bin/mv part pid; echo working; exec /bin/sleep 600");
    let mut tries = 0;
    // It may be given up before it has written its number: as soon as it has, it must be gone.
    while !script.path("pid").exists() {
        tries += 1;
        assert!(tries < 1000, "the script does not run");
        let options = Options { wait: Duration::from_millis(100), ..script.options() };
        let error = refused(&options).await;
        assert!(matches!(error, Error::NotReady { .. }), "{error}");
        assert!(error.to_string().contains("--llama-wait"), "{error}");
    }
    assert!(!script.process("pid").exists());
}

#[tokio::test]
async fn its_command_line_has_what_we_need_and_the_user_s_words_last() {
    let script = Script::new("echo \"$@\"; echo \"${LLAMA_ARG_OFFLINE}-${SECRET_OF_OURS}\"; exit 1");
    let options = Options { wait: Duration::from_mins(1), ..script.options() };
    let text = refused(&options).await.to_string();
    assert!(text.contains("| -m m.gguf --host 127.0.0.1 --port "), "{text}");
    assert!(text.contains(" --alias gguf:0123 -np 3 -c 6144 -t 1 -c 99\n"), "{text}");
    assert!(text.ends_with("| 1-"), "{text}");
}

#[tokio::test]
async fn a_stolen_port_is_tried_again() {
    let script = Script::new("echo x >> tries; echo \"couldn't bind HTTP server socket\"; exit 1");
    let options = Options { wait: Duration::from_mins(1), ..script.options() };
    let error = refused(&options).await;
    assert!(error.to_string().contains("it could not listen"), "{error}");
    assert_eq!(std::fs::read_to_string(script.path("tries")).unwrap().lines().count(), PORTS);
}

#[tokio::test]
async fn what_it_writes_never_stops_it_nor_fills_the_memory() {
    let script = Script::new("/usr/bin/head -c 20000000 /dev/zero; echo; echo the end; exit 0");
    let child = Child::start(std::process::Command::new(script.path("server"))).unwrap();
    child.ended().await;
    assert!(child.status().unwrap().success());
    let words = child.words().to_string();
    assert!(words.ends_with("\n  | the end") && words.len() < 5_000, "{}", words.len());
}

#[test]
fn a_child_that_does_not_heed_sigterm_is_killed_and_its_children_too() {
    let script = Script::new(
        "trap '' TERM; /bin/sleep 600 & echo $! > grandchild; echo $$ > pid; while :; do wait; done",
    );
    let child = Child::start(std::process::Command::new(script.path("server"))).unwrap();
    let (pid, grandchild) = (script.process("pid"), script.process("grandchild"));
    assert!(pid.exists() && grandchild.exists());
    drop(child);
    assert!(!pid.exists());
    // Killed too; who inherited it reaps it in its own time.
    let state = std::fs::read_to_string(grandchild.join("stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z ") || state.contains(") X "), "{state}");
}

/// Serves these replies, one a connection, on a port of its own; then the thread gives back what it was asked.
fn serve(replies: Vec<(u16, &'static str)>) -> (u16, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for (status, body) in replies {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let n = stream.read(&mut request).unwrap();
            asked.push(String::from_utf8_lossy(&request[..n]).into_owned());
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            stream.write_all((head + body).as_bytes()).unwrap();
        }
        asked
    });
    (port, thread)
}

#[tokio::test]
async fn a_server_that_loads_is_waited_for() {
    let (port, asked) = serve(vec![
        (503, r#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#),
        (503, r#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#),
        (200, r#"{"status":"ok"}"#),
        (200, r#"{"total_slots":2,"model_alias":"gguf:0123","default_generation_settings":{"n_ctx":512}}"#),
    ]);
    let address = Address { port, key: SecretString::from("the-key") };
    let options = Options { wait: Duration::from_mins(1), ..options(Path::new("")) };
    let props = ready(&address, &options, &Client::direct(PATIENCE).unwrap(), &mut |_| {}).await.unwrap();
    assert_eq!((props.slots, props.context), (Some(2), Some(512)));
    let asked = asked.join().unwrap();
    assert!(
        asked[..3].iter().all(|request| request.starts_with("GET /health ") && !request.contains("the-key"))
    );
    assert!(asked[3].starts_with("GET /props ") && asked[3].contains("Bearer the-key"), "{}", asked[3]);
}

#[tokio::test]
async fn a_stranger_on_the_port_is_not_taken_for_ours() {
    let stranger = r#"{"total_slots":2,"model_alias":"gguf:4567"}"#;
    for (status, body) in [(200, stranger), (401, r#"{"error":{"message":"Invalid API Key"}}"#), (404, "no")]
    {
        let (port, _) = serve(vec![(200, "{}"), (status, body)]);
        let address = Address { port, key: SecretString::from("the-key") };
        let client = Client::direct(PATIENCE).unwrap();
        let state = ready(&address, &options(Path::new("")), &client, &mut |_| {}).await.unwrap_err();
        assert_eq!(state, "another server answers on its port");
    }
}

#[test]
fn keys_are_long_and_never_the_same() {
    let (one, two) = (random_key(), random_key());
    assert_eq!(one.expose_secret().len(), 32);
    assert_ne!(one.expose_secret(), two.expose_secret());
}
