//! `batch write` and `batch read`: files for a runner of one's own, played here.

use std::fs;

use serde_json::{Map, Value, json};

use super::ROWS;
use crate::faults::until;
use crate::standin::{Config, Standin};
use crate::world::{Run, World, text};

const LENS: &str = "textbook_quality";

/// The model that the runner serves.
const MODEL: [&str; 2] = ["--model", "standin-large"];

/// A world with rows, and an endpoint that has no batches.
fn world() -> (World, Standin) {
    let (world, standin) = World::with_endpoint(Config::default());
    world.rows("rows.jsonl", ROWS);
    (world, standin)
}

fn write(world: &World, file: &str, flags: &[&str]) -> Run {
    let command = ["batch", "write", file, "rows.jsonl", "text", LENS];
    world.run(&[&command[..], &MODEL, &["--format", "json"], flags].concat())
}

fn read(world: &World, files: &[&str], flags: &[&str]) -> Run {
    world.run(&[&["batch", "read", "--format", "json"], files, flags].concat())
}

fn summary(world: &World, flags: &[&str]) -> Run {
    world.run(&[&["summary", "rows.jsonl", "text", LENS, "--format", "json"], &MODEL[..], flags].concat())
}

fn requests(world: &World, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(world.path(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The arguments that a request's function wants: texts, and for each score the middle of what it may be.
fn arguments(request: &Value) -> Value {
    let body = &request["body"];
    let function = &body["tools"][0]["function"]["parameters"];
    let schema = &body["response_format"]["json_schema"]["schema"];
    let schema = if function.is_object() { function } else { schema };
    let properties = schema["properties"].as_object().unwrap();
    let value = |property: &Value| match property["enum"].as_array() {
        Some(values) => values[values.len() / 2].clone(),
        None => json!("because"),
    };
    properties.iter().map(|(name, property)| (name.clone(), value(property))).collect::<Map<_, _>>().into()
}

/// A line with a completion that calls the function with these arguments, as vLLM writes it.
fn reply(request: &Value, arguments: &Value) -> Value {
    let function = json!({"name": "rate", "arguments": arguments.to_string()});
    let message = json!({"role": "assistant", "content": null,
        "tool_calls": [{"id": "c", "type": "function", "function": function}]});
    let body = json!({"id": "chatcmpl-1", "object": "chat.completion", "model": request["body"]["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}});
    json!({"id": "vllm-1", "custom_id": request["custom_id"], "error": null,
        "response": {"status_code": 200, "request_id": "vllm-batch-1", "body": body}})
}

/// A line with an answer.
fn answer(request: &Value) -> Value {
    reply(request, &arguments(request))
}

/// A line with an error, as vLLM writes it.
fn refused(request: &Value, status: u16, message: &str) -> Value {
    json!({"id": "vllm-1", "custom_id": request["custom_id"],
        "response": {"status_code": status, "request_id": "vllm-batch-1", "body": null},
        "error": {"error": {"message": message, "type": "BadRequestError", "param": null, "code": status}}})
}

/// What a runner makes of a file: a line for each request, in the opposite order.
fn run(world: &World, from: &str, to: &str, line: impl Fn(usize, &Value) -> Value) {
    let lines: Vec<String> = requests(world, from)
        .iter()
        .enumerate()
        .map(|(n, request)| line(n, request).to_string())
        .rev()
        .collect();
    world.write(to, lines.join("\n"));
}

/// The only batch of a command's JSON, in this column.
#[track_caller]
fn count(run: &Run, column: &str) -> u64 {
    let document = run.json();
    assert_eq!(document["batches"].as_array().map(Vec::len), Some(1), "{document}");
    document["batches"][0][column].as_u64().unwrap_or_else(|| panic!("no {column} in {document}"))
}

#[test]
fn what_a_runner_answers_is_told_as_rated_once_and_the_endpoint_is_not_asked() {
    let (world, standin) = world();
    let written = write(&world, "questions.jsonl", &[]).exits(0);
    assert_eq!(written.json()["requests"], ROWS);
    assert!(written.stderr.contains("under the name standin-large"), "{}", written.stderr);
    assert!(!world.path("questions.jsonl.part").exists());
    run(&world, "questions.jsonl", "answers.jsonl", |_, request| answer(request));
    let came = read(&world, &["answers.jsonl"], &[]).exits(0);
    assert_eq!((count(&came, "answered"), count(&came, "waiting")), (ROWS as u64, 0));

    let first = summary(&world, &[]).exits(0);
    assert_eq!(first.ledger()["rated"], ROWS);
    let second = summary(&world, &[]).exits(0);
    assert_eq!(second.ledger()["cached"], ROWS);
    assert_eq!(standin.counters().requests, 0);
}

#[test]
fn lines_are_what_the_batch_api_takes() {
    let (world, _standin) = world();
    write(&world, "questions.jsonl", &["--max", "1"]).exits(0);
    let request = &requests(&world, "questions.jsonl")[0];
    assert_eq!((&request["method"], &request["url"]), (&json!("POST"), &json!("/v1/chat/completions")));
    assert_eq!(request["body"]["model"], "standin-large");
    let id = request["custom_id"].as_str().unwrap();
    assert!(id.len() == 64 && id.bytes().all(|digit| b"0123456789abcdef".contains(&digit)), "{id}");
}

#[test]
fn no_key_and_no_endpoint_is_needed() {
    let world = World::new();
    world.rows("rows.jsonl", 3);
    write(&world, "questions.jsonl", &[]).exits(0);
    run(&world, "questions.jsonl", "answers.jsonl", |_, request| answer(request));
    assert_eq!(count(&read(&world, &["answers.jsonl"], &[]).exits(0), "answered"), 3);
}

#[test]
fn what_waits_is_in_no_other_file_and_not_asked_live() {
    let (world, standin) = world();
    write(&world, "first.jsonl", &["--max", "20"]).exits(0);
    let again = write(&world, "second.jsonl", &["--max", "20"]).exits(0);
    assert_eq!((&again.json()["requests"], &again.json()["elsewhere"]), (&json!(0), &json!(20)));
    assert!(again.stderr.contains("wait in other batches"), "{}", again.stderr);
    assert!(!world.path("second.jsonl").exists());

    let live = summary(&world, &["--max", "20"]).exits(75);
    assert_eq!((live.ledger()["not_reached"].clone(), standin.counters().requests), (json!(20), 0));
    let rest = write(&world, "second.jsonl", &[]).exits(0);
    assert_eq!(rest.json()["requests"], ROWS - 20);
}

#[test]
fn rows_that_ask_the_same_are_in_the_file_once() {
    let (world, _standin) = world();
    let twice: Vec<String> = (0..20).map(|row| json!({"text": text(row % 10)}).to_string()).collect();
    world.write("rows.jsonl", twice.join("\n"));
    let written = write(&world, "questions.jsonl", &[]).exits(0);
    assert_eq!((&written.json()["requests"], &written.json()["elsewhere"]), (&json!(10), &json!(0)));
}

#[test]
fn several_lenses_are_a_batch_each_in_one_file() {
    let (world, _standin) = world();
    let command = ["batch", "write", "q.jsonl", "rows.jsonl", "text", "textbook_quality,learning_value"];
    let written = world.run(&[&command[..], &MODEL, &["--format", "json"]].concat()).exits(0).json();
    assert_eq!(
        (written["batches"].as_array().map(Vec::len), &written["requests"]),
        (Some(2), &json!(2 * ROWS))
    );
    run(&world, "q.jsonl", "answers.jsonl", |_, request| answer(request));
    let came = read(&world, &["answers.jsonl"], &[]).exits(0).json();
    for batch in came["batches"].as_array().unwrap() {
        assert_eq!(batch["answered"], ROWS, "{came}");
    }
}

#[test]
fn a_file_that_is_there_is_replaced_only_by_force() {
    let (world, _standin) = world();
    world.write("questions.jsonl", "");
    let kept = write(&world, "questions.jsonl", &[]).exits(2);
    assert!(kept.stderr.contains("is there already, and empty"), "{}", kept.stderr);
    write(&world, "questions.jsonl", &["--force", "--max", "20"]).exits(0);
    let kept = write(&world, "questions.jsonl", &[]).exits(2);
    assert!(kept.stderr.contains("is a file of questions"), "{}", kept.stderr);
    write(&world, "questions.jsonl", &["--force"]).exits(0);
    assert_eq!(requests(&world, "questions.jsonl").len(), ROWS - 20);
}

#[test]
fn what_is_no_file_of_questions_is_never_replaced() {
    let (world, _standin) = world();
    write(&world, "questions.jsonl", &["--max", "1"]).exits(0);
    run(&world, "questions.jsonl", "answers.jsonl", |_, request| answer(request));
    let mine = json!({"custom_id": "mine", "method": "POST", "url": "/v1/chat/completions", "body": {}});
    world.write("mine.jsonl", mine.to_string());
    world.write("text.txt", "mine");
    world.write("blank.txt", "\n\n");
    for file in ["answers.jsonl", "mine.jsonl", "text.txt", "blank.txt", "rows.jsonl"] {
        let before = fs::read(world.path(file)).unwrap();
        for force in [&[][..], &["--force"]] {
            let kept = write(&world, file, force).exits(2);
            assert!(kept.stderr.contains("is no file of questions"), "{file}: {}", kept.stderr);
        }
        assert_eq!(fs::read(world.path(file)).unwrap(), before, "{file}");
    }
    // Not even one of ours that is an input.
    let rows = fs::read_to_string(world.path("questions.jsonl")).unwrap();
    let command = ["batch", "write", "./questions.jsonl", "questions.jsonl", "custom_id", LENS, "--force"];
    let kept = world.run(&[&command[..], &MODEL].concat()).exits(2);
    assert!(kept.stderr.contains("is a file of the dataset"), "{}", kept.stderr);
    assert_eq!(fs::read_to_string(world.path("questions.jsonl")).unwrap(), rows);
}

#[test]
fn nothing_is_read_unless_all_files_can_be_opened_and_what_is_done_is_closed_also_after_an_error() {
    let (world, _standin) = world();
    write(&world, "questions.jsonl", &[]).exits(0);
    run(&world, "questions.jsonl", "answers.jsonl", |_, request| answer(request));
    read(&world, &["answers.jsonl", "missing.jsonl"], &[]).exits(1);
    let stage = || super::listed(&world)[0]["stage"].clone();
    assert_eq!(stage(), "written");
    world.write("garbage.jsonl", "garbage");
    let broken = read(&world, &["answers.jsonl", "garbage.jsonl"], &[]).exits(2);
    assert!(broken.stderr.contains("garbage.jsonl holds no reply"), "{}", broken.stderr);
    assert_eq!(stage(), "collected");
    assert_eq!(summary(&world, &[]).exits(0).ledger()["rated"], ROWS);
}

#[tokio::test]
async fn a_batch_that_a_killed_read_left_without_a_question_is_closed_by_the_next() {
    use classified::store::{Change, Stage, Store};
    let (world, _standin) = world();
    write(&world, "questions.jsonl", &[]).exits(0);
    run(&world, "questions.jsonl", "answers.jsonl", |_, request| answer(request));
    read(&world, &["answers.jsonl"], &[]).exits(0);
    let path = world.path(".local/share/classified/ratings.db");
    let store = Store::open(path.to_str().unwrap()).await.unwrap();
    let batch = store.batches().await.unwrap().remove(0);
    store.change_batch(batch.id, Change { stage: Some(Stage::Written), ..Change::default() }).await.unwrap();
    store.close().await.unwrap();
    let again = read(&world, &["answers.jsonl"], &[]).exits(0);
    assert!(again.stderr.contains("were they read already"), "{}", again.stderr);
    assert_eq!(super::listed(&world)[0]["stage"], "collected");
}

#[test]
fn replies_to_questions_of_another_database_are_no_success() {
    let (world, _standin) = world();
    let (other, _other_standin) = self::world();
    write(&world, "questions.jsonl", &[]).exits(0);
    world.write("rows.jsonl", json!({"text": "elsewhere"}).to_string());
    write(&world, "more.jsonl", &[]).exits(0);
    write(&other, "questions.jsonl", &[]).exits(0);
    run(&world, "more.jsonl", "answers.jsonl", |_, request| answer(request));
    other.write("answers.jsonl", fs::read(world.path("answers.jsonl")).unwrap());
    let none = read(&other, &["answers.jsonl"], &[]).exits(2);
    assert!(
        none.stderr.contains("none of the 1 lines") && none.stderr.contains("another database"),
        "{}",
        none.stderr
    );
}

#[test]
fn stdout_takes_the_questions_and_nothing_else() {
    let (world, _standin) = world();
    let command = ["batch", "write", "-", "rows.jsonl", "text", LENS];
    let run = world.run(&[&command[..], &MODEL].concat()).exits(0);
    assert_eq!(run.stdout.lines().filter(|line| line.starts_with(r#"{"custom_id""#)).count(), ROWS);
    assert_eq!(run.stdout.lines().count(), ROWS);
    let json = write(&world, "-", &[]).exits(2);
    assert!(json.stderr.contains("stdout is where the questions go"), "{}", json.stderr);
}

#[test]
fn a_file_that_cannot_be_written_reserves_nothing() {
    let (world, _standin) = world();
    let lost = write(&world, "no/such/folder/questions.jsonl", &[]).exits(1);
    assert!(lost.stderr.contains("cannot write"), "{}", lost.stderr);
    assert_eq!(write(&world, "questions.jsonl", &[]).exits(0).json()["requests"], ROWS);
}

#[cfg(unix)]
#[test]
fn a_kill_while_the_file_is_written_loses_no_question() {
    for (signal, code) in [("KILL", -1), ("INT", 130)] {
        // Whoever writes a file faster than we look gets a longer one to write.
        let came_in_time = [3_000, 12_000, 48_000].iter().any(|rows| is_interrupted(*rows, signal, code));
        assert!(came_in_time, "{signal} always came when the file had its name");
    }
}

/// Whether a signal came before a file of so many rows had its name; what follows is looked at then.
#[cfg(unix)]
fn is_interrupted(rows: usize, signal: &str, code: i32) -> bool {
    let (world, _standin) = world();
    world.rows("rows.jsonl", rows);
    let command = ["batch", "write", "questions.jsonl", "rows.jsonl", "text", LENS];
    let mut child = world.start(&[&command[..], &MODEL].concat());
    let part = world.path("questions.jsonl.part");
    until(|| child.try_wait().unwrap().is_some() || fs::metadata(&part).is_ok_and(|part| part.len() > 0));
    crate::faults::signal(signal, &child);
    let ended = Run::of(child.wait_with_output().unwrap());
    if world.path("questions.jsonl").exists() {
        return false;
    }
    let ended = ended.exits(code);
    assert_eq!(part.exists(), signal == "KILL", "{}", ended.stderr);
    let written = write(&world, "questions.jsonl", &[]).exits(0);
    assert_eq!((&written.json()["requests"], &written.json()["elsewhere"]), (&json!(rows), &json!(0)));
    assert!(!part.exists());
    true
}

#[tokio::test]
async fn a_kill_when_the_file_has_its_name_loses_no_answer() {
    use classified::store::{Change, Stage, Store};
    let (world, _standin) = world();
    write(&world, "questions.jsonl", &[]).exits(0);
    // What the store knows at that moment.
    let path = world.path(".local/share/classified/ratings.db");
    let store = Store::open(path.to_str().unwrap()).await.unwrap();
    let batch = store.batches().await.unwrap().remove(0);
    store.change_batch(batch.id, Change { stage: Some(Stage::Spooling), ..Change::default() }).await.unwrap();
    store.close().await.unwrap();

    run(
        &world,
        "questions.jsonl",
        "half.jsonl",
        |n, request| if n % 2 == 0 { answer(request) } else { json!({}) },
    );
    assert_eq!(count(&read(&world, &["half.jsonl"], &[]).exits(0), "answered"), ROWS as u64 / 2);
    // The rest is out: who writes another file does not take it back.
    assert_eq!(write(&world, "other.jsonl", &[]).exits(0).json()["requests"], 0);
    run(&world, "questions.jsonl", "answers.jsonl", |_, request| answer(request));
    assert_eq!(count(&read(&world, &["answers.jsonl"], &[]).exits(0), "answered"), ROWS as u64 / 2);
}

#[test]
fn lines_that_are_nobody_s_are_passed_over() {
    let (world, _standin) = world();
    write(&world, "questions.jsonl", &[]).exits(0);
    let mut lines = vec!["not JSON".to_owned(), json!({"custom_id": "x"}).to_string()];
    for request in requests(&world, "questions.jsonl") {
        lines.push(answer(&request).to_string());
    }
    let mut unknown = answer(&requests(&world, "questions.jsonl")[0]);
    unknown["custom_id"] = "ab".repeat(32).into();
    lines.push(unknown.to_string());
    unknown["custom_id"] =
        requests(&world, "questions.jsonl")[0]["custom_id"].as_str().unwrap().to_uppercase().into();
    lines.push(unknown.to_string());
    lines.push(lines[2].clone());
    world.write("answers.jsonl", lines.join("\r\n\r\n"));
    let came = read(&world, &["answers.jsonl"], &[]).exits(0);
    let document = came.json();
    assert_eq!(count(&came, "answered"), ROWS as u64);
    assert_eq!(
        (&document["unknown"], &document["duplicate"], &document["garbage"]),
        (&json!(3), &json!(1), &json!(1))
    );
    assert!(came.stderr.contains("answers.jsonl: line 1 is not JSON"), "{}", came.stderr);

    // Read again it has nothing new.
    let again = read(&world, &["answers.jsonl"], &[]).exits(0);
    assert_eq!(again.json()["batches"], json!([]));
    assert!(again.stderr.contains("were they read already"), "{}", again.stderr);
}

#[test]
fn each_file_that_holds_no_replies_is_told_from_one_that_does() {
    let (world, _standin) = world();
    write(&world, "questions.jsonl", &[]).exits(0);
    world.write("garbage.jsonl", "one\ntwo\n");
    world.write("packed.jsonl", [0x1f, 0x8b, 8, 0]);
    world.write("binary.jsonl", [0xff; 100]);
    world.write("folder/file", "");
    for (file, code, words) in [
        ("questions.jsonl", 2, "holds the questions, not the replies"),
        ("garbage.jsonl", 2, "holds no reply of a batch: line 1 is not JSON"),
        ("packed.jsonl", 2, "is compressed: unpack it first"),
        ("binary.jsonl", 2, "holds no reply of a batch: line 1 is not JSON"),
        ("folder", 2, "is a folder"),
        ("missing.jsonl", 1, "cannot read missing.jsonl"),
    ] {
        let run = read(&world, &[file], &[]).exits(code);
        assert!(run.stderr.contains(words), "{file}: {}", run.stderr);
    }
    world.write("empty.jsonl", "\n");
    let run = read(&world, &["empty.jsonl"], &[]).exits(2);
    assert!(run.stderr.contains("none of the 0 lines"), "{}", run.stderr);
    let run = read(&world, &["garbage.jsonl"], &["--batch", "77"]).exits(2);
    assert!(run.stderr.contains("no batch `77`"), "{}", run.stderr);
}

#[test]
fn questions_without_a_line_wait_on_until_they_are_freed() {
    let (world, _standin) = world();
    write(&world, "questions.jsonl", &[]).exits(0);
    run(
        &world,
        "questions.jsonl",
        "half.jsonl",
        |n, request| if n < 20 { answer(request) } else { json!({}) },
    );
    let half = read(&world, &["half.jsonl"], &[]).exits(0);
    assert_eq!((count(&half, "answered"), count(&half, "waiting")), (20, ROWS as u64 - 20));
    assert_eq!(write(&world, "rest.jsonl", &[]).exits(0).json()["requests"], 0);

    run(
        &world,
        "questions.jsonl",
        "one.jsonl",
        |n, request| if n == 20 { answer(request) } else { json!({}) },
    );
    let closed = read(&world, &["one.jsonl"], &["--close"]).exits(0);
    assert_eq!(
        (count(&closed, "answered"), count(&closed, "again"), count(&closed, "waiting")),
        (1, ROWS as u64 - 21, 0)
    );
    assert_eq!(write(&world, "rest.jsonl", &[]).exits(0).json()["requests"], ROWS - 21);
}

#[test]
fn an_answer_that_is_none_is_asked_again_with_what_was_wrong_and_fails_the_second_time() {
    let (world, standin) = world();
    write(&world, "first.jsonl", &["--max", "5"]).exits(0);
    run(&world, "first.jsonl", "first.out", |n, request| {
        if n == 0 {
            reply(request, &json!({"overall": 7, "secret": "of the reply"}))
        } else {
            answer(request)
        }
    });
    let first = read(&world, &["first.out"], &[]).exits(0);
    assert_eq!((count(&first, "answered"), count(&first, "again")), (4, 1));

    write(&world, "second.jsonl", &["--max", "5"]).exits(0);
    let second = requests(&world, "second.jsonl");
    let messages = second[0]["body"]["messages"].to_string();
    assert_eq!(second.len(), 1);
    assert!(messages.contains("cannot be used") && !messages.contains("of the reply"), "{messages}");
    run(&world, "second.jsonl", "second.out", |_, request| reply(request, &json!({})));
    assert_eq!(count(&read(&world, &["second.out"], &[]).exits(0), "failed"), 1);
    let told = summary(&world, &["--max", "5", "--batch", "--fail-above", "100%"]);
    assert!(told.code == 2, "the endpoint has no batches: {}", told.stderr);
    assert_eq!(standin.counters().requests, 0);
}

#[test]
fn a_runner_that_takes_no_functions_is_asked_for_a_schema_next() {
    let (world, _standin) = world();
    write(&world, "first.jsonl", &[]).exits(0);
    run(&world, "first.jsonl", "first.out", |_, request| {
        refused(request, 400, "google/gemma does not support tools")
    });
    let first = read(&world, &["first.out"], &[]).exits(0);
    assert_eq!(count(&first, "again"), ROWS as u64, "{}", first.stdout);
    assert!(first.stderr.contains("does not take `tools`"), "{}", first.stderr);
    write(&world, "second.jsonl", &[]).exits(0);
    let body = &requests(&world, "second.jsonl")[0]["body"];
    assert!(body["tools"].is_null() && body["response_format"].is_object(), "{body}");
    run(&world, "second.jsonl", "second.out", |_, request| {
        let content = arguments(request).to_string();
        let mut line = reply(request, &json!({}));
        line["response"]["body"]["choices"][0]["message"] = json!({"role": "assistant", "content": content});
        line
    });
    assert_eq!(count(&read(&world, &["second.out"], &[]).exits(0), "answered"), ROWS as u64);
}

#[test]
fn a_file_whose_every_line_is_refused_waits_to_be_run_again() {
    let (world, _standin) = world();
    write(&world, "questions.jsonl", &[]).exits(0);
    run(&world, "questions.jsonl", "refused.jsonl", |_, request| {
        refused(request, 404, "The model `standin-large` does not exist.")
    });
    let came = read(&world, &["refused.jsonl"], &[]).exits(1);
    assert!(came.stderr.contains("does not exist"), "{}", came.stderr);
    assert_eq!(count(&came, "waiting"), ROWS as u64);
    run(&world, "questions.jsonl", "answers.jsonl", |_, request| answer(request));
    assert_eq!(count(&read(&world, &["answers.jsonl"], &[]).exits(0), "answered"), ROWS as u64);
}

#[test]
fn a_question_that_several_batches_wait_for_goes_to_the_one_of_the_model_that_answered() {
    let (world, _standin) = world();
    let of = |model: &str, version: &str, file: &str| {
        let command =
            ["batch", "write", file, "rows.jsonl", "text", LENS, "--model", model, "--version", version];
        world.run(&[&command[..], &["--format", "json"]].concat()).exits(0).json()["batches"][0]["batch"]
            .clone()
    };
    let [small, large] = [of("standin-small", "1", "small.jsonl"), of("standin-large", "1", "large.jsonl")];
    let second = of("standin-large", "2", "second.jsonl");
    run(&world, "large.jsonl", "large.out", |_, request| answer(request));
    let came = read(&world, &["large.out"], &[]).exits(0);
    assert_eq!((&came.json()["batches"][0]["batch"], count(&came, "answered")), (&large, ROWS as u64));

    run(&world, "small.jsonl", "nobody.out", |_, request| {
        let mut line = answer(request);
        line["response"]["body"]["model"] = "/models/merged".into();
        line
    });
    let unclear = read(&world, &["nobody.out"], &[]).exits(2);
    assert!(unclear.stderr.contains("name the batch with --batch"), "{}", unclear.stderr);
    let named = read(&world, &["nobody.out"], &["--batch", &small.to_string()]).exits(0);
    assert_eq!((&named.json()["batches"][0]["batch"], count(&named, "answered")), (&small, ROWS as u64));
    run(&world, "second.jsonl", "second.out", |_, request| answer(request));
    let last = read(&world, &["second.out"], &[]).exits(0);
    assert_eq!((&last.json()["batches"][0]["batch"], count(&last, "answered")), (&second, ROWS as u64));
}

#[test]
fn what_cannot_be_written_is_told_with_a_way_out() {
    let (world, _standin) = world();
    let command = ["batch", "write", "questions.jsonl", "rows.jsonl", "text", LENS];
    for (flags, words) in [
        (vec!["--model", "heuristic"], "there are no questions to write"),
        (vec!["--dry-run"], "`classified summary … --dry-run`"),
        (vec!["--batch"], "leave --batch, --wait and --repair-live out"),
        (vec!["--batch", "--wait"], "leave --batch, --wait and --repair-live out"),
        (vec!["--batch", "--repair-live"], "leave --batch, --wait and --repair-live out"),
        (vec!["--wait"], "--batch"),
    ] {
        let run = world.run(&[&command[..], &flags].concat()).exits(2);
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    let run = read(&world, &["questions.jsonl"], &[]).exits(2);
    assert!(run.stderr.contains("there is no database"), "{}", run.stderr);
}
