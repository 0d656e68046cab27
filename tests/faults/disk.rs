//! A disk that is full and a database that is locked while answers arrive.

#![cfg(unix)]

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::standin::{Action, Config, Rule};
use crate::world::Run;

use super::{ROWS, Trial, blocking, confined, each, until};

#[test]
fn a_database_that_another_process_has_locked_is_waited_for() {
    // Nothing is answered before the database is locked.
    let trial = Trial::new(vec![Rule::always(Action::Until(u64::MAX))]);
    let child = trial.start(&[]);
    until(|| trial.standin.counters().requests >= 4);
    let options = SqliteConnectOptions::new().filename(trial.database());
    blocking(async {
        let mut other = SqliteConnection::connect_with(&options).await.unwrap();
        let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
        trial.standin.recover();
        // All that was asked at first is answered, and nothing of it can be committed.
        until(|| trial.standin.counters().by_status.get(&200).is_some_and(|times| *times >= 4));
        tokio::time::sleep(Duration::from_secs(1)).await;
        lock.rollback().await.unwrap();
    });
    let run = Run::of(child.wait_with_output().unwrap()).exits(0);
    trial.sound(&run);
    assert_eq!(run.ledger()["rated"], ROWS);
    assert!(trial.standin.answered().values().all(|times| *times == 1));
    trial.recovers();
}

const STORE: &str = ".local/share/classified";

/// A disk that gets full: a shell that can make it, how much it holds in KiB, and what a message says of it. Which
/// size is full half-way depends on the schema and on luck, so there are some.
struct Disk {
    shell: &'static [&'static str],
    sizes: Vec<u32>,
    words: &'static str,
}

/// Meets a disk of each size: whoever finds it full says so, keeps what was committed, and goes on later.
fn full_disks(disk: &Disk, script: impl Fn(u32) -> String + Sync) {
    let met = AtomicU32::new(0);
    each(&disk.sizes, |size| {
        // Answers come four at a time, so that not all are in one commit, however fast the machine.
        let trial = Trial::with(Config { delay: Duration::from_millis(25), ..Config::default() });
        let run = confined(&trial.command(&[]), disk.shell, &script(*size));
        trial.sound(&run);
        if run.code != 0 {
            assert_eq!(run.code, 1, "{}", run.stderr);
            assert!(run.stderr.contains(disk.words), "{size} KiB: {}", run.stderr);
            met.fetch_add(u32::from(trial.committed() > 0), Ordering::Relaxed);
        }
        trial.recovers();
    });
    assert!(met.into_inner() > 0, "no disk was full half-way: choose other sizes");
}

/// Whether a file system of a given size can be made here; elsewhere the limit on files stands for it.
fn can_mount() -> bool {
    let tried = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    tried.is_ok_and(|output| output.status.success())
}

#[test]
fn a_full_disk_under_the_database_ends_the_run_and_keeps_what_was_committed() {
    if !can_mount() {
        println!("skipped: this machine lets nobody mount a small file system");
        return;
    }
    // The small disk is gone with the shell: what it held is copied to where the next run looks.
    let script = |size: u32| {
        format!(
            "mkdir -p small {STORE} && mount -t tmpfs -o size={size}k tmpfs small || exit 99\n\
             DATABASE_URL=small/ratings.db \"$@\"; code=$?; cp small/ratings.db* {STORE}/; exit $code"
        )
    };
    // As it is now, from 208 to 230 KiB.
    let sizes = (176..288).step_by(12).collect();
    full_disks(&Disk { shell: &["unshare", "-rm"], sizes, words: "the disk is full: make room" }, script);
}

#[test]
fn a_full_disk_under_the_results_ends_the_run_and_keeps_what_was_committed() {
    if !can_mount() {
        println!("skipped: this machine lets nobody mount a small file system");
        return;
    }
    let script = |size: u32| {
        format!(
            "mkdir -p small && mount -t tmpfs -o size={size}k tmpfs small || exit 99\n\
             DATA_DIR=small \"$@\"; code=$?; mkdir -p data && cp -r small/* data/; exit $code"
        )
    };
    let sizes = vec![4, 12, 20];
    full_disks(&Disk { shell: &["unshare", "-rm"], sizes, words: "No space left on device" }, script);
}

#[test]
fn a_limit_on_the_size_of_files_ends_the_run_and_keeps_what_was_committed() {
    // The unit of `ulimit -f` is 512 bytes in some shells and 1024 in others.
    let script = |size: u32| format!("trap '' XFSZ; ulimit -f {size}; exec \"$@\"");
    // As it is now, from 176 to 208 KiB.
    let sizes = (160..=208).step_by(16).chain((320..=416).step_by(16)).collect();
    full_disks(&Disk { shell: &["env"], sizes, words: "the database" }, script);
}
