use serde_json::json;

use super::*;

/// A folder for outputs.
struct Trial {
    folder: tempfile::TempDir,
}

impl Trial {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn out(&self) -> PathBuf {
        self.path("out")
    }

    fn begin(&self, job: Value, older: Older) -> Result<Begun, Error> {
        Work::begin(&self.out(), job, older)
    }

    fn work(&self, job: Value, older: Older) -> Work {
        match self.begin(job, older).unwrap() {
            Begun::Work(work) => work,
            Begun::Done(receipt) => panic!("done: {receipt:?}"),
        }
    }

    /// The names in the folder, sorted.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// What the output holds, or `None` where none is whole.
    fn content(&self) -> Option<String> {
        let There::Output(receipt) = look(&self.out()).unwrap() else { return None };
        let places = Places::of(&self.out()).unwrap();
        assert_eq!(places.lacking(&receipt), None);
        assert!(strangers(&self.out(), &receipt).unwrap().is_empty());
        Some(fs::read_to_string(self.out().join("data/train-00000-of-00001.parquet")).unwrap())
    }
}

fn job(min: f64) -> Value {
    json!({"dataset": "d.parquet", "data": "abc", "cuts": {"min": min}})
}

/// Writes the shard of a work.
fn fill(work: &Work, content: &str) -> Vec<Shard> {
    let name = "train-00000-of-00001.parquet";
    fs::write(work.data().join(name), content).unwrap();
    vec![Shard { name: name.into(), rows: 1, bytes: content.len() as u64 }]
}

fn write(work: Work, content: &str) -> Receipt {
    let shards = fill(&work, content);
    work.finish(json!({"kept": 1}), shards, "# Card\n").unwrap()
}

#[test]
fn an_output_appears_whole_and_leaves_nothing_beside_it() {
    let trial = Trial::new();
    let work = trial.work(job(2.5), Older::Keep);
    fs::write(work.scores_path(), "between the passes").unwrap();
    fs::write(work.unrated_path(), "{\"v\":1,\"id\":\"a\"}\n").unwrap();
    assert_eq!(trial.names(), [".out.lock", ".out.part"]);
    write(work, "rows");
    assert_eq!(trial.names(), ["out", "out.unrated.jsonl"]);
    assert_eq!(trial.content().unwrap(), "rows");
    let receipt = fs::read_to_string(trial.out().join(RECEIPT)).unwrap();
    let program = format!(r#""program":"{}""#, env!("CARGO_PKG_VERSION"));
    insta::assert_snapshot!(receipt.replace(&program, r#""program":"…""#), @r#"{"v":1,"output":"filter","program":"…","digest":"d1b8ca3b44bc47bc53b40623c4018a4dbd64a0e2a6488eb6e9cb406039bd7d43","job":{"dataset":"d.parquet","data":"abc","cuts":{"min":2.5}},"counts":{"kept":1},"shards":[{"name":"train-00000-of-00001.parquet","rows":1,"bytes":4}],"card":"87851527cd6c59eacbdd2c6798ddeb44925b095e24f5d67530cd3d57bfb716de"}"#);
    let mut names: Vec<_> = fs::read_dir(trial.out()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["README.md", "classified.json", "data"]);
}

#[test]
fn the_same_job_again_is_done_and_another_says_in_what_it_differs() {
    let trial = Trial::new();
    write(trial.work(job(2.5), Older::Keep), "rows");
    let Begun::Done(receipt) = trial.begin(job(2.5), Older::Keep).unwrap() else { panic!("it is done") };
    assert_eq!(receipt.counts, json!({"kept": 1}));
    assert!(matches!(trial.begin(job(2.5), Older::Replace).unwrap(), Begun::Work(_)));
    let error = trial.begin(job(3.0), Older::Keep).unwrap_err();
    let message = error.to_string();
    assert!(
        error.is_usage() && message.contains("the output of another job (cuts.min: there 2.5, now 3.0)"),
        "{message}"
    );
    assert!(message.contains("--force"));
    let mut other = job(2.5);
    other["data"] = "changed".into();
    other["new"] = json!(["\u{1b}[2J"]);
    let message = trial.begin(other, Older::Keep).unwrap_err().to_string();
    assert!(
        message.contains(r#"data: there "abc", now "changed"; new: there not set, now ["\u001b[2J"]"#),
        "{message}"
    );
    assert_eq!(trial.content().unwrap(), "rows");
    assert_eq!(trial.names(), ["out"]);
}

#[test]
fn force_replaces_what_we_wrote_and_nothing_else() {
    let trial = Trial::new();
    write(trial.work(job(2.5), Older::Keep), "rows");
    write(trial.work(job(3.0), Older::Replace), "other rows");
    assert_eq!(trial.content().unwrap(), "other rows");
    assert_eq!(trial.names(), ["out"]);
    for (name, text) in [("notes.txt", "mine"), ("data/more.parquet", "mine"), ("README.md", "edited")] {
        let before = fs::read(trial.out().join(name)).ok();
        fs::write(trial.out().join(name), text).unwrap();
        let error = trial.begin(job(2.5), Older::Replace).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        match before {
            Some(before) => fs::write(trial.out().join(name), before).unwrap(),
            None => fs::remove_file(trial.out().join(name)).unwrap(),
        }
    }
    fs::write(trial.out().join("data/train-00000-of-00001.parquet"), "written over by another tool").unwrap();
    assert!(trial.begin(job(2.5), Older::Replace).unwrap_err().to_string().contains("train-00000"));
}

#[test]
fn what_came_into_the_older_output_while_the_job_ran_stops_it_at_the_end() {
    let trial = Trial::new();
    write(trial.work(job(2.5), Older::Keep), "rows");
    let work = trial.work(job(3.0), Older::Replace);
    let shards = fill(&work, "other rows");
    fs::write(trial.out().join("notes.txt"), "mine").unwrap();
    assert!(work.finish(json!({}), shards, "").unwrap_err().to_string().contains("notes.txt"));
    assert_eq!(fs::read_to_string(trial.out().join("notes.txt")).unwrap(), "mine");
    assert_eq!(trial.names(), ["out"]);
}

#[test]
fn an_output_of_which_a_shard_is_missing_is_not_done() {
    let trial = Trial::new();
    write(trial.work(job(2.5), Older::Keep), "rows");
    fs::remove_file(trial.out().join("data/train-00000-of-00001.parquet")).unwrap();
    let error = trial.begin(job(2.5), Older::Keep).unwrap_err().to_string();
    assert!(error.contains("train-00000-of-00001.parquet is missing"), "{error}");
    write(trial.work(job(2.5), Older::Replace), "rows");
    assert_eq!(trial.content().unwrap(), "rows");
    fs::write(trial.out().join("data/train-00000-of-00001.parquet"), "more rows").unwrap();
    let error = trial.begin(job(2.5), Older::Keep).unwrap_err().to_string();
    assert!(error.contains("train-00000-of-00001.parquet was changed"), "{error}");
}

#[test]
fn an_empty_folder_is_used_and_anything_else_is_left_alone() {
    let trial = Trial::new();
    fs::create_dir(trial.out()).unwrap();
    write(trial.work(job(2.5), Older::Keep), "rows");
    assert_eq!(trial.content().unwrap(), "rows");

    let trial = Trial::new();
    fs::write(trial.out(), "a file").unwrap();
    let refused = |words: &str| {
        let error = trial.begin(job(2.5), Older::Replace).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains(words), "{error}");
    };
    refused("is a file");
    fs::remove_file(trial.out()).unwrap();
    fs::create_dir(trial.out()).unwrap();
    fs::write(trial.out().join("thesis.txt"), "years of work").unwrap();
    refused("something else");
    fs::write(trial.out().join(RECEIPT), "{\"v\":1,\"output\":").unwrap();
    refused("cannot be read");
    fs::write(trial.out().join(RECEIPT), "{\"v\":2,\"output\":\"filter\"}").unwrap();
    refused("cannot be read");
    assert_eq!(fs::read_to_string(trial.out().join("thesis.txt")).unwrap(), "years of work");
    for name in ["..", "/", "."] {
        assert!(Work::begin(Path::new(name), job(1.0), Older::Replace).unwrap_err().is_usage());
    }
}

#[test]
#[cfg(unix)]
fn a_link_is_not_followed() {
    let trial = Trial::new();
    fs::create_dir(trial.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(trial.path("elsewhere"), trial.out()).unwrap();
    assert!(trial.begin(job(2.5), Older::Replace).unwrap_err().to_string().contains("symbolic link"));
    fs::remove_file(trial.out()).unwrap();
    fs::write(trial.path("elsewhere").join(MARK), "").unwrap();
    std::os::unix::fs::symlink(trial.path("elsewhere"), trial.path(".out.part")).unwrap();
    assert!(
        trial.begin(job(2.5), Older::Replace).unwrap_err().to_string().contains("no work folder of ours")
    );
    assert!(trial.path("elsewhere").join(MARK).exists());
}

#[test]
fn only_a_work_folder_of_ours_is_cleared_away() {
    let trial = Trial::new();
    fs::create_dir(trial.path(".out.part")).unwrap();
    fs::write(trial.path(".out.part/mine.txt"), "").unwrap();
    assert!(
        trial.begin(job(2.5), Older::Replace).unwrap_err().to_string().contains("no work folder of ours")
    );
    assert!(trial.path(".out.part/mine.txt").exists());
    fs::write(trial.path(".out.part").join(MARK), "").unwrap();
    let work = trial.work(job(2.5), Older::Keep);
    assert!(!trial.path(".out.part/mine.txt").exists());
    drop(work);
    assert!(trial.names().is_empty());
    // Killed before the mark was written.
    fs::create_dir(trial.path(".out.part")).unwrap();
    write(trial.work(job(2.5), Older::Keep), "rows");
}

#[test]
fn a_clean_up_that_was_killed_leaves_what_the_next_run_removes() {
    // The last thing in a work folder is its mark, or the receipt of one that was sealed.
    let trial = Trial::new();
    for last in [MARK, RECEIPT] {
        let part = trial.path(".out.part");
        fs::create_dir_all(part.join("data")).unwrap();
        fs::write(part.join(last), "{\"v\":1,\"output\":\"filter\"").unwrap();
        // What cannot be removed stops the clean-up: a folder stands for it where a file is expected.
        fs::create_dir_all(part.join(if last == MARK { RECEIPT } else { MARK }).join("inner")).unwrap();
        clear_work(&part).unwrap_err();
        assert!(!part.join("data").exists() && part.join(MARK).exists(), "{last}");
        fs::remove_dir_all(&part).unwrap();
    }
    // An older output of which only the folder is left.
    write(trial.work(job(2.5), Older::Keep), "rows");
    for out_is_there in [true, false] {
        fs::create_dir(trial.path(".out.old")).unwrap();
        if !out_is_there {
            fs::remove_dir_all(trial.out()).unwrap();
        }
        drop(trial.work(job(3.0), Older::Replace));
        assert!(!trial.path(".out.old").exists());
    }
}

#[test]
fn a_folder_into_which_a_thread_still_writes_is_known_to_the_next_run() {
    use std::sync::atomic::{AtomicBool, Ordering};
    for _ in 0..50 {
        let trial = Trial::new();
        let work = trial.work(job(2.5), Older::Keep);
        let (unrated, data, is_over) = (work.unrated_path(), work.data(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for nth in 0.. {
                    let _ = File::create(&unrated);
                    let _ = File::create(data.join(format!("train-{nth}")));
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            drop(work);
            is_over.store(true, Ordering::Relaxed);
        });
        drop(trial.work(job(2.5), Older::Keep));
        assert!(trial.names().is_empty());
    }
}

#[test]
fn a_list_of_unrated_rows_goes_with_its_output_and_a_strangers_file_stays() {
    let trial = Trial::new();
    let work = trial.work(job(2.5), Older::Keep);
    fs::write(work.unrated_path(), "{\"v\":1,\"id\":\"a\"}\n").unwrap();
    write(work, "rows");
    write(trial.work(job(3.0), Older::Replace), "all rated");
    assert_eq!(trial.names(), ["out"]);
    fs::write(trial.path("out.unrated.jsonl"), "{\"mine\":1}").unwrap();
    let error = trial.begin(job(2.5), Older::Replace).unwrap_err().to_string();
    assert!(error.contains("out.unrated.jsonl") && error.contains("in the way"), "{error}");
}

#[test]
fn two_at_once_are_one_too_many() {
    let trial = Trial::new();
    let work = trial.work(job(2.5), Older::Keep);
    assert!(matches!(trial.begin(job(2.5), Older::Keep), Err(Error::Busy { holder: Some(_), .. })));
    write(work, "rows");
    assert!(matches!(trial.begin(job(2.5), Older::Keep), Ok(Begun::Done(_))));
}

type Step = fn(&Places) -> Result<(), Error>;

/// Steps of finishing, in order. A kill between any two is as if the rest did not happen.
const STEPS: [Step; 4] = [Places::move_unrated, Places::set_aside, Places::move_in, Places::clear_old];

#[test]
fn killed_at_any_step_the_old_or_the_new_output_is_whole_and_the_next_run_puts_it_in_order() {
    for steps in 0..=STEPS.len() {
        for sealed in [false, true] {
            if steps > 0 && !sealed {
                continue;
            }
            let trial = Trial::new();
            let work = trial.work(job(2.5), Older::Keep);
            fs::write(work.unrated_path(), "{\"v\":1,\"id\":\"old\"}\n").unwrap();
            write(work, "old");
            let work = trial.work(job(3.0), Older::Replace);
            fs::write(work.unrated_path(), "{\"v\":1,\"id\":\"new\"}\n").unwrap();
            let shards = fill(&work, "new");
            if sealed {
                let receipt = Receipt {
                    v: 1,
                    output: "filter".into(),
                    program: "0".into(),
                    digest: Digest::of(&job(3.0)).to_string(),
                    job: job(3.0),
                    counts: json!({}),
                    shards,
                    card: digest(b"card"),
                };
                work.places.seal(&receipt, "card").unwrap();
            }
            STEPS.iter().take(steps).for_each(|step| step(&work.places).unwrap());
            // Killed: neither is anything removed, nor is the lock file.
            let lock = fs::read(trial.path(".out.lock")).unwrap();
            let mut work = work;
            work.is_finished = true;
            drop(work);
            fs::write(trial.path(".out.lock"), lock).unwrap();

            let is_new = steps >= 3;
            match trial.content() {
                Some(content) => {
                    assert_eq!(content, if is_new { "new" } else { "old" }, "after {steps} steps");
                }
                // Between the two renames, the old one is whole under another name.
                None => {
                    assert!(steps == 2 && matches!(look(&trial.path(".out.old")).unwrap(), There::Output(_)));
                }
            }
            let older = if is_new { Older::Keep } else { Older::Replace };
            match trial.begin(job(3.0), older).unwrap() {
                Begun::Done(_) => assert!(is_new, "after {steps} steps"),
                Begun::Work(work) => {
                    assert!(!is_new, "after {steps} steps");
                    assert_eq!(trial.content().unwrap(), "old");
                    fs::write(work.unrated_path(), "{\"v\":1,\"id\":\"new\"}\n").unwrap();
                    write(work, "new");
                }
            }
            assert_eq!(trial.content().unwrap(), "new");
            assert_eq!(trial.names(), ["out", "out.unrated.jsonl"], "after {steps} steps");
            let unrated = fs::read_to_string(trial.path("out.unrated.jsonl")).unwrap();
            assert!(unrated.contains("new"));
        }
    }
}

#[test]
fn a_receipt_of_a_stranger_leads_to_no_other_file() {
    let trial = Trial::new();
    write(trial.work(job(2.5), Older::Keep), "rows");
    let mut receipt: Receipt = read_receipt(&trial.out()).unwrap().unwrap();
    fs::write(trial.path("victim"), "v").unwrap();
    receipt.shards.push(Shard { name: "../../victim".into(), rows: 1, bytes: 1 });
    fs::write(trial.out().join(RECEIPT), serde_json::to_string(&receipt).unwrap()).unwrap();
    write(trial.work(job(2.5), Older::Replace), "rows");
    assert!(trial.path("victim").exists());
}
