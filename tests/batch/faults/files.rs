//! What the server makes of a file of requests, and what the files hold that it leaves.

use super::{
    ALL, WAIT, answered, balanced, complete, each, faulty, kept, listed, open, page, recovers, rows,
    scripted, sound, summary,
};
use crate::standin::{Action, BatchRule, Fault, Kind, RequestRule, Rule, Twist};

#[test]
fn a_file_that_is_rejected_is_told_in_the_servers_words_and_its_questions_are_free() {
    let cases = [
        (
            r#"{"data": [{"code": "invalid_json_line", "message": "not parseable", "line": 7}]}"#,
            "not parseable (line 7)",
        ),
        (r#"{"data": []}"#, "it does not say why"),
        ("null", "it does not say why"),
        (r#"{"data": [{"message": "bad\u001b[31m\u0007"}, {"message": 7}, null]}"#, "bad"),
    ];
    each(&cases, |(errors, words)| {
        let fail = Twist::Fail { code: "odd".into(), message: "odd".into() };
        let body = format!(r#"{{"id": "batch_1", "status": "failed", "errors": {errors}}}"#);
        let told = Fault::Status { code: 200, body: serde_json::from_str(&body).ok(), headers: [].into() };
        let rule = RequestRule { kind: Kind::GetBatch, nth: None, times: None, fault: told };
        let (world, standin) = faulty(vec![rule], vec![BatchRule::always(fail)]);
        let run = summary(&world, &WAIT).exits(1);
        assert!(run.stderr.contains(words) && !run.stderr.contains('\u{1b}'), "{errors}: {}", run.stderr);
        assert_eq!((open(&world), standin.counters().batches), (0, 1), "{errors}");
    });
}

#[test]
fn replies_that_are_missing_are_asked_for_again_and_said_to_be_billed() {
    let (world, standin) = faulty(vec![], vec![BatchRule::nth(1, Twist::Drop(0.3))]);
    let run = summary(&world, &WAIT);
    complete(&run, "dropped once");
    assert!(run.stderr.contains("may have been billed"), "{}", run.stderr);
    let lost = listed(&world)[0]["again"].as_u64().unwrap();
    assert!((2..ALL).contains(&lost), "{lost}");
    // The server lost those replies, and only those.
    assert_eq!(answered(&standin), [(1, ALL - lost), (2, lost)].into());
    assert_eq!(kept(&world), ALL);
}

#[test]
fn replies_that_stay_missing_fail_their_rows_after_three_batches() {
    // Without any line there would be no file, which is another matter.
    let twists = [Twist::Drop(0.3), Twist::UnknownIds(1)];
    let (world, standin) = faulty(vec![], twists.map(BatchRule::always).into());
    let run = summary(&world, &WAIT).exits(3);
    let lost = run.ledger()["failed"]["connection"].as_u64().unwrap();
    assert!(lost > 0 && balanced(&run) == ALL - lost, "{}", run.stdout);
    assert_eq!(standin.counters().batches, 3);
    assert_eq!(answered(&standin), [(1, ALL - lost), (3, lost)].into());
    let lines = world.lines("rows.jsonl/textbook_quality.jsonl");
    let failed: Vec<_> = lines.iter().filter_map(|line| line["failure"]["detail"].as_str()).collect();
    assert!(
        failed.len() as u64 == lost && failed.iter().all(|detail| detail.contains("billed")),
        "{failed:?}"
    );
    // A run of its own asks them again.
    standin.recover();
    let run = summary(&world, &WAIT);
    complete(&run, "recovered");
    assert_eq!((rows(&run, "rated"), standin.counters().batches), (lost, 4));
}

#[test]
fn files_that_the_server_has_lost_are_said_to_be_billed_and_asked_again_only_when_they_are_given_up() {
    let (world, standin) = faulty(vec![], vec![BatchRule::nth(1, Twist::LoseFiles)]);
    let run = summary(&world, &WAIT).exits(75);
    assert!(run.stderr.contains("may have been paid for"), "{}", run.stderr);
    assert_eq!((rows(&run, "not_reached"), answered(&standin)), (ALL, [(1, ALL)].into()));
    world.run(&["batch", "cancel", "1", "--forget"]).exits(0);
    complete(&summary(&world, &WAIT), "lost files");
    assert_eq!(answered(&standin), [(2, ALL)].into());
    assert_eq!((kept(&world), open(&world)), (ALL, 0));
}

#[test]
fn lines_for_no_question_twice_the_same_and_no_lines_are_passed_over_with_one_warning() {
    let twists =
        [Twist::Twice(0.5), Twist::UnknownIds(3), Twist::UpperIds(4), Twist::EmptyIds(2), Twist::Garbage(7)];
    let (world, standin) = faulty(vec![], twists.map(BatchRule::always).into());
    let run = summary(&world, &WAIT);
    complete(&run, "odd lines");
    let warned: Vec<&str> = run.stderr.lines().filter(|line| line.contains("passed over")).collect();
    assert_eq!(warned.len(), 1, "{}", run.stderr);
    assert!(
        warned[0].contains("9 lines for no question") && warned[0].contains("7 lines that cannot be read"),
        "{warned:?}"
    );
    assert!(warned[0].contains("had one already"), "{warned:?}");
    sound(&world, &standin, "odd lines");
    assert_eq!(standin.counters().batches, 1);
}

#[test]
fn a_page_in_place_of_a_file_is_no_file_of_the_batch() {
    let (world, standin) = faulty(vec![RequestRule::first(Kind::Content, 1, page())], vec![]);
    complete(&summary(&world, &WAIT), "a page");
    sound(&world, &standin, "a page");
}

#[test]
fn a_file_that_breaks_off_is_read_again_from_its_start() {
    let cases = [(Fault::CutBody, 2, "60"), (Fault::StallBody, 1, "1"), (Fault::Hang, 1, "1")];
    each(&cases, |(fault, times, timeout)| {
        let (world, standin) = faulty(vec![RequestRule::first(Kind::Content, *times, fault.clone())], vec![]);
        let run = summary(&world, &[&WAIT[..], &["--timeout", timeout]].concat());
        complete(&run, &format!("{fault:?}"));
        assert!(!run.stderr.contains("passed over"), "{fault:?}: {}", run.stderr);
        sound(&world, &standin, &format!("{fault:?}"));
    });
}

#[test]
fn lines_of_an_error_file_fail_their_rows_or_are_asked_again() {
    // How the lines are refused, in how many batches, and why their rows fail if they are refused each time.
    let cases = [(400, 1, "rejected"), (429, 3, "rate_limited"), (500, 3, "server_error")];
    each(&cases, |(status, batches, reason)| {
        let refuse = || Twist::Refuse { share: 0.3, status: *status };
        let (world, standin) = faulty(vec![], vec![BatchRule::always(refuse())]);
        let run = summary(&world, &WAIT);
        assert_eq!(run.code, 3, "{status}: {}", run.stderr);
        let failed = run.ledger()["failed"][*reason].as_u64().unwrap_or_default();
        assert!(failed > 0 && balanced(&run) == ALL - failed, "{status}: {}", run.stdout);
        assert_eq!(standin.counters().batches, *batches, "{status}");
        recovers(&world, &standin, &status.to_string());

        if *batches > 1 {
            let (world, standin) = faulty(vec![], vec![BatchRule::nth(1, refuse())]);
            complete(&summary(&world, &WAIT), &status.to_string());
            assert_eq!(standin.counters().batches, 2, "{status}");
            sound(&world, &standin, &status.to_string());
        }
    });
}

#[test]
fn a_batch_of_which_every_line_is_refused_ends_the_run_and_frees_its_questions() {
    let quota = vec![Rule::always(Action::error(429, "insufficient_quota"))];
    let refuse = |status| vec![BatchRule::always(Twist::Refuse { share: 1.0, status })];
    let cases = [("401", vec![], refuse(401)), ("404", vec![], refuse(404)), ("quota", quota, vec![])];
    each(&cases, |(what, script, batches)| {
        let (world, standin) =
            if script.is_empty() { faulty(vec![], batches.clone()) } else { scripted(script.clone()) };
        for times in 1..=2 {
            let run = summary(&world, &WAIT);
            assert_eq!(run.code, 1, "{what}: {}", run.stderr);
            assert!(run.stderr.contains("scripted"), "{what}: {}", run.stderr);
            // One file for each command, and no more.
            assert_eq!((open(&world), standin.counters().files), (0, times), "{what}");
        }
        recovers(&world, &standin, what);
    });
}

#[test]
fn a_parameter_that_is_not_taken_is_left_out_of_the_next_batch_and_nothing_counts_as_failed() {
    let refuse =
        |parameter: &str| Rule::always(Action::Refuse { parameter: parameter.to_owned(), value: None });
    // A call can be forced in three ways, and asked for by a schema in a fourth.
    let cases = [(vec!["temperature"], 2), (vec!["tool_choice"], 4), (vec!["temperature", "tool_choice"], 5)];
    each(&cases, |(parameters, batches)| {
        let (world, standin) = scripted(parameters.iter().copied().map(refuse).collect());
        complete(&summary(&world, &WAIT), &format!("{parameters:?}"));
        assert_eq!(standin.counters().batches, *batches, "{parameters:?}");
        sound(&world, &standin, &format!("{parameters:?}"));
        assert!(listed(&world).iter().all(|batch| batch["failed"] == 0), "{parameters:?}");
        // It is remembered.
        complete(&summary(&world, &[&WAIT[..], &["--version", "2"]].concat()), "again");
        assert_eq!(standin.counters().batches, batches + 1, "{parameters:?}");
    });
}

#[test]
fn what_expires_again_and_again_is_handed_over_again_and_again() {
    each(&[0.0, 0.5], |share| {
        let expire = |number| BatchRule::nth(number, Twist::ExpireAfter(*share));
        let (world, standin) = faulty(vec![], [1, 2, 3].map(expire).into());
        complete(&summary(&world, &WAIT), &share.to_string());
        assert_eq!(standin.counters().batches, 4, "{share}");
        sound(&world, &standin, &share.to_string());
    });
}

#[test]
fn an_endpoint_that_lets_every_batch_expire_before_it_runs_anything_is_given_up() {
    let (world, standin) = faulty(vec![], vec![BatchRule::always(Twist::ExpireAfter(0.0))]);
    let run = summary(&world, &WAIT).exits(75);
    assert!(run.stderr.contains("expired before anything of it was run"), "{}", run.stderr);
    assert_eq!((standin.counters().batches, standin.counters().batched), (4, 0));
    recovers(&world, &standin, "later");
}

#[test]
fn a_batch_that_is_cancelled_before_anything_was_run_is_handed_over_by_the_next_run() {
    let (world, standin) = faulty(vec![], vec![BatchRule::nth(1, Twist::CancelAfter(0.0))]);
    let run = summary(&world, &WAIT).exits(75);
    assert_eq!((balanced(&run), rows(&run, "not_reached")), (0, ALL));
    recovers(&world, &standin, "cancelled");
    assert_eq!(standin.counters().batches, 2);
}
