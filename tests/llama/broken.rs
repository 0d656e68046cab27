//! Servers that do not work, played by scripts; and settings that cannot be used.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::SUMMARY;
use crate::world::{Run, World};

/// A world with a model that is none, and a server that does this.
fn world(script: &str) -> World {
    let world = World::new();
    world.rows("rows.jsonl", 2);
    world.write("m.gguf", "GGUF and nothing more");
    let path = world.write("server", format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    world
}

fn run(world: &World, more: &[&str]) -> Run {
    let arguments = [&SUMMARY[..], &["--model", "m.gguf", "--llama-server", "./server"], more].concat();
    Run::of(world.command(&arguments).output().unwrap())
}

#[test]
fn a_server_that_ends_is_quoted_harmlessly() {
    let world = world(r"printf 'error: invalid argument: \033]0;title\007-x\n'; exit 1");
    let run = run(&world, &[]).exits(1);
    assert!(run.stderr.contains("llama-server ended (exit status: 1); check --llama-args"), "{}", run.stderr);
    assert!(run.stderr.contains(r"  | error: invalid argument: \u{1b}]0;title\u{7}-x"), "{}", run.stderr);
}

#[test]
fn a_server_that_never_listens_is_given_up() {
    let world = world("echo 'a line'; /usr/bin/head -c 3000000 /dev/zero; exec /bin/sleep 600");
    let run = run(&world, &["--llama-wait", "1"]).exits(1);
    assert!(
        run.stderr.contains("llama-server is not ready after 1 s (it does not answer: "),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("--llama-wait"), "{}", run.stderr);
    assert!(run.stderr.len() < 4_000, "{}", run.stderr.len());
}

#[test]
fn each_mistake_has_its_message() {
    let world = world("exit 1");
    world.write("page.gguf", "<html>");
    let told = |more: &[&str], part: &str| {
        let run = run(&world, more).exits(2);
        assert!(run.stderr.contains(part), "{}", run.stderr);
    };
    told(&["--llama-args", "--port 80"], "`--port` cannot be set");
    told(&["--llama-args", "'"], "a quote is not closed");
    told(&["--base-url", "http://127.0.0.1:9/v1"], "leave one of the two out");
    told(&["--temperature", "3"], "--temperature 3 is not between 0 and 2");
    let summary = |more: &[&str]| Run::of(world.command(&[&SUMMARY[..], more].concat()).output().unwrap());
    for (model, part) in
        [("none.gguf", "cannot read the model none.gguf"), ("page.gguf", "page.gguf is not a GGUF file")]
    {
        let run = summary(&["--model", model]).exits(2);
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
    let run = summary(&["--model", "m.gguf"]).exits(2);
    for part in ["cannot start llama-server", "install llama.cpp", "LLAMA_SERVER", "OPENAI_BASE_URL"] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
}
