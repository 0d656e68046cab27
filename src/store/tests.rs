//! The store's story on a real file.

use std::sync::Arc;

use super::*;
use crate::model::Money;
use crate::rating::answer::{Answer, Provenance, Usage};
use crate::rating::failure::Reason;
use crate::rating::question::Digest;

fn digest(n: u16) -> Digest {
    Digest(std::array::from_fn(|i| n.to_le_bytes()[i % 2]))
}

fn slot() -> Arc<Slot> {
    Arc::new(Slot { lens: "lens".into(), model: "model".into(), version: 1, sample: 0 })
}

fn answer(score: f64) -> Arc<Answer> {
    let usage = Usage {
        input: 200,
        cached_input: 100,
        cache_write: 0,
        output: 30,
        cost: Some(Money::from_pico(500_000_000_000)),
    };
    Arc::new(Answer {
        scores: vec![score, 1.5],
        rationales: vec!["because \"é\"\n".into()],
        provenance: Provenance {
            model_reported: Some("model-2026".into()),
            finish_reason: None,
            usage,
            latency_ms: 12,
            attempts: 2,
            answered_at: 1_700_000_000_000,
        },
    })
}

fn new(n: u16, score: f64) -> NewAnswer {
    NewAnswer { slot: slot(), input: digest(n), lens_digest: digest(9999), answer: answer(score) }
}

async fn open(folder: &tempfile::TempDir) -> Arc<Store> {
    Arc::new(
        Store::open(&format!("sqlite:{}", folder.path().join("sub/ratings.db").display())).await.unwrap(),
    )
}

#[tokio::test]
async fn a_database_that_cannot_be_written_is_read_and_nothing_is_made_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder).await.close().await.unwrap();
    let path = folder.path().join("sub/ratings.db");
    let files = || std::fs::read_dir(folder.path().join("sub")).unwrap().count();
    // The connection that writes is closed after the store.
    let at_rest = async || {
        while files() > 1 {
            tokio::task::yield_now().await;
        }
    };
    at_rest().await;
    let before = std::fs::read(&path).unwrap();
    let store = Store::read_only(&path.display().to_string()).await.unwrap();
    assert_eq!((store.access, store.runs().await.unwrap()), (Access::Read, Runs::default()));
    assert_eq!(files(), 1, "no log, no lock");
    store.close().await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), before);

    let store = open(&folder).await;
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version > 1").execute(&store.read).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    at_rest().await;
    let store = Store::read_only(&path.display().to_string()).await.unwrap();
    assert_eq!(store.access, Access::Old);
    assert!(Store::read_only("no-such-file.db").await.is_err());
}

#[tokio::test]
async fn what_was_put_is_found_again_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    assert_eq!(store.journal, Journal::Wal);
    for n in 0..600 {
        store.put(vec![new(n, f64::from(n))]).await.unwrap();
    }
    store.close().await.unwrap();

    let store = open(&folder).await;
    let inputs: Vec<Digest> = (0..700).map(digest).collect();
    let found = store.find(&slot(), &inputs).await.unwrap();
    assert_eq!(found.len(), 600);
    assert_eq!(*found[&digest(77)], *answer(77.0));
    let other = Slot { version: 2, ..(*slot()).clone() };
    assert!(store.find(&other, &inputs).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_first_answer_to_a_question_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    store.put(vec![new(1, 1.0)]).await.unwrap();
    assert_eq!(
        store.put(vec![new(1, 3.0)]).await.unwrap()[0].scores[0].to_bits(),
        1.0_f64.to_bits(),
        "what is stored is reported"
    );
    assert_eq!(
        store.find(&slot(), &[digest(1)]).await.unwrap()[&digest(1)].scores[0].to_bits(),
        1.0_f64.to_bits()
    );
}

#[tokio::test]
async fn many_producers_are_committed_in_groups_and_all_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let puts = (0..1000).map(|n| store.put(vec![new(n, 2.0)]));
    assert!(futures::future::join_all(puts).await.into_iter().all(|put| put.is_ok()));
    assert_eq!(store.stats().await.unwrap().groups[0].answers, 1000);
}

#[tokio::test]
async fn failed_attempts_are_history_and_no_answers() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let attempt =
        Attempt { slot: slot(), input: digest(1), reason: Reason::Truncated, usage: Usage::UNKNOWN };
    store.put_attempt(attempt).await;
    store.put(vec![new(2, 1.0)]).await.unwrap();
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.attempts, stats.groups[0].answers), (1, 1));
    assert!(store.find(&slot(), &[digest(1)]).await.unwrap().is_empty());
}

#[tokio::test]
async fn another_text_of_a_lens_is_noticed_until_it_is_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    store.put(vec![new(1, 1.0)]).await.unwrap();
    assert_eq!(store.other_texts(&slot(), digest(9999)).await.unwrap(), 0);
    assert_eq!(store.other_texts(&slot(), digest(5)).await.unwrap(), 1);
    let all = Prune { lens: Some("lens".into()), ..Prune::default() };
    assert_eq!(store.count(&all).await.unwrap(), 1);
    assert_eq!(store.prune(&all).await.unwrap(), 1);
    assert_eq!(store.other_texts(&slot(), digest(5)).await.unwrap(), 0);
}

#[tokio::test]
async fn pruning_while_a_run_writes_loses_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (running, pruning) = (open(&folder).await, open(&folder).await);
    running.put(vec![new(1, 1.0)]).await.unwrap();
    pruning.prune(&Prune::default()).await.unwrap();
    running.put(vec![new(2, 2.0)]).await.unwrap();
    assert_eq!(running.find(&slot(), &[digest(1), digest(2)]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn ten_processes_may_open_a_new_database_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("ratings.db").display().to_string();
    let stores = futures::future::join_all((0..10).map(|_| Store::open(&url))).await;
    for store in stores {
        store.unwrap();
    }
}

#[tokio::test]
async fn a_resolution_is_remembered_per_name_and_url() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    store.remember_model("gpt", digest(1), "tiny").await.unwrap();
    store.remember_model("gpt", digest(1), "tiny-2").await.unwrap();
    assert_eq!(store.remembered_model("gpt", digest(1)).await.unwrap().as_deref(), Some("tiny-2"));
    assert_eq!(store.remembered_model("gpt", digest(2)).await.unwrap(), None);
}

#[test]
fn urls_name_files() {
    for url in ["sqlite:a/b.db", "sqlite://a/b.db", "a/b.db"] {
        assert_eq!(path_of(url).unwrap(), PathBuf::from("a/b.db"), "{url}");
    }
    assert_eq!(path_of("sqlite:///a/b.db").unwrap(), PathBuf::from("/a/b.db"));
    assert!(!path_of("postgres://user:secret@host/db").unwrap_err().to_string().contains("secret"));
}
