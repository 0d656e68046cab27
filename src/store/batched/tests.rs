//! Batches on a real file: two processes, kills, and files that are read twice.

use std::collections::BTreeMap;

use super::super::standing::{FAIL_TURN, FORGET, STAND, TELL, TELL_LOST};
use super::super::{Change, Forget, Lesson, NewAnswer, NewBatch, Prune, Stage, Standing, Telling};
use super::*;
use crate::model::Price;
use crate::rating::answer::{Answer, Provenance, Unsettled};

fn digest(n: u32) -> Digest {
    let mut bytes = [7; 32];
    // Spread over all digests, as real ones are.
    bytes[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
    Digest(bytes)
}

fn slot() -> Arc<Slot> {
    Arc::new(Slot { lens: "lens".into(), model: "model".into(), version: 1, sample: 0 })
}

fn new() -> NewBatch {
    NewBatch {
        slot: slot(),
        digest: digest(999),
        files: BTreeMap::from([("config.json".to_owned(), "{}".to_owned())]),
        asked: "gpt".into(),
        url: Some(digest(5)),
        place: Some("http://127.0.0.1:1/v1".into()),
        dialect: "{}".into(),
        price: "0.10,0.01,0.125,0.50".parse().ok(),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "an amount, as the store has it: it may not be known")]
fn dollars(dollars: f64) -> Option<Money> {
    Some(Money::from_dollars(dollars))
}

fn usage(cost: f64) -> Usage {
    Usage { input: 100, cached_input: 10, cache_write: 0, output: 20, cost: dollars(cost) }
}

fn answered(n: u32) -> Settled {
    let provenance =
        Provenance { usage: usage(0.5), answered_at: 1_700_000_000_000, ..Provenance::default() };
    let answer = Answer { scores: vec![2.0], rationales: vec!["because".into()], provenance };
    Settled { input: digest(n), usage: usage(0.5), fate: Fate::Answered(Arc::new(answer)) }
}

fn no_answer(n: u32, fate: impl Fn(Failure) -> Fate) -> Settled {
    let fate = fate(Failure::new(Reason::Invalid, "`overall` is 7, not one of 1 to 3"));
    Settled { input: digest(n), usage: usage(0.25), fate }
}

fn not_run(n: u32) -> Settled {
    let fate = Fate::Again(Failure::new(Reason::Timeout, "it was not run"));
    Settled { input: digest(n), usage: Usage::default(), fate }
}

fn inputs(questions: std::ops::Range<u32>) -> Vec<Digest> {
    questions.map(digest).collect()
}

struct World {
    folder: tempfile::TempDir,
    store: Store,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Self::open(&folder).await;
        Self { folder, store }
    }

    async fn open(folder: &tempfile::TempDir) -> Store {
        Store::open(&folder.path().join("ratings.db").display().to_string()).await.unwrap()
    }

    /// What another process sees, or this one after a kill: the first store is not closed.
    async fn other(&self) -> Store {
        Self::open(&self.folder).await
    }

    async fn batch(&self, questions: std::ops::Range<u32>) -> Batch {
        let batch = self.store.begin_batch(&new()).await.unwrap();
        let count = questions.len();
        assert_eq!(self.store.reserve(&batch, &inputs(questions)).await.unwrap().len(), count);
        batch
    }

    async fn known(&self, batch: &Batch) -> Batch {
        self.store.batches().await.unwrap().into_iter().find(|known| known.id == batch.id).unwrap()
    }

    async fn sql(&self, statement: &'static str) {
        sqlx::query(statement).execute(&self.store.read).await.unwrap();
    }

    /// How many questions are in each state.
    async fn states(&self) -> BTreeMap<String, i64> {
        let rows = sqlx::query("SELECT state, count(*) FROM batch_questions GROUP BY state");
        let rows = rows.fetch_all(&self.store.read).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}

fn turn_of(tries: u32, cost: f64) -> Turn {
    let last = Failure::new(Reason::Invalid, "`overall` is 7, not one of 1 to 3");
    Turn { tries, last: Some(last), usage: usage(cost) }
}

#[tokio::test]
async fn a_question_is_in_one_batch_at_most_and_counted_where_it_is() {
    let world = World::new().await;
    let one = world.batch(0..600).await;
    assert!(world.store.reserve(&one, &inputs(0..600)).await.unwrap().is_empty(), "not twice");
    let other = world.other().await;
    let two = other.begin_batch(&new()).await.unwrap();
    let taken = other.reserve(&two, &inputs(500..700)).await.unwrap();
    assert_eq!(taken.len(), 100);
    assert!(taken.values().all(|turn| *turn == Turn::default()));
    let twins: Vec<_> = inputs(700..702).into_iter().chain(inputs(700..702)).collect();
    assert_eq!(other.reserve(&two, &twins).await.unwrap().len(), 2, "twins count once");
    let (one, two) = (world.known(&one).await, world.known(&two).await);
    assert_eq!((one.requests, two.requests), (600, 102));
    assert_ne!(one.intent, two.intent);
    assert!(
        one.intent.len() == 32 && one.intent.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{}",
        one.intent
    );
}

#[tokio::test]
async fn two_processes_that_reserve_at_once_share_the_questions() {
    let world = World::new().await;
    let other = world.other().await;
    let (one, two) =
        (world.store.begin_batch(&new()).await.unwrap(), other.begin_batch(&new()).await.unwrap());
    let questions = inputs(0..2_000);
    let (first, second) = tokio::join!(
        async {
            let mut taken = 0;
            for group in questions.chunks(100) {
                taken += world.store.reserve(&one, group).await.unwrap().len();
            }
            taken
        },
        async {
            let mut taken = 0;
            for group in questions.rchunks(100) {
                taken += other.reserve(&two, group).await.unwrap().len();
            }
            taken
        }
    );
    assert_eq!(first + second, 2_000);
    assert_eq!(world.states().await, BTreeMap::from([("waiting".into(), 2_000)]));
}

#[tokio::test]
async fn a_batch_comes_back_as_it_was_made_and_changed() {
    let world = World::new().await;
    let made = world.store.begin_batch(&NewBatch { url: None, ..new() }).await.unwrap();
    assert_eq!(world.other().await.batches().await.unwrap(), std::slice::from_ref(&made));
    let change = Change { stage: Some(Stage::Uploaded), file: Some("file-1".into()), ..Change::default() };
    world.store.change_batch(made.id, change).await.unwrap();
    let change = Change { status: Some("validating".into()), bytes: Some(7), ..Change::default() };
    world.store.change_batch(made.id, change).await.unwrap();
    let known = world.known(&made).await;
    assert_eq!((known.stage, known.file.as_deref(), known.bytes), (Stage::Uploaded, Some("file-1"), 7));
    assert_eq!((known.status.as_deref(), known.remote), (Some("validating"), None));
}

#[tokio::test]
async fn a_price_is_kept_as_plain_numbers_and_one_that_is_not_known_as_none() {
    let world = World::new().await;
    let long = Price { long_prompt: Some(272_000), ..new().price.unwrap() };
    for price in [Some(long), None] {
        world.store.begin_batch(&NewBatch { price, ..new() }).await.unwrap();
    }
    let stored: Vec<Option<String>> = sqlx::query_scalar("SELECT price FROM batches ORDER BY id")
        .fetch_all(&world.store.read)
        .await
        .unwrap();
    let text = r#"{"input":0.1,"cached_input":0.01,"cache_write":0.125,"output":0.5,"long_prompt":272000}"#;
    assert_eq!(stored, [Some(text.to_owned()), None]);
    let prices: Vec<_> =
        world.other().await.batches().await.unwrap().into_iter().map(|batch| batch.price).collect();
    assert_eq!(prices, [Some(long), None]);
}

#[tokio::test]
async fn a_number_is_never_given_to_two_batches() {
    let world = World::new().await;
    let first = world.batch(0..1).await;
    world.store.abandon_batch(first.id).await.unwrap();
    assert!(world.batch(0..1).await.id > first.id);
}

#[tokio::test]
async fn open_batches_are_those_that_are_not_collected_and_know_how_many_wait() {
    let world = World::new().await;
    let (done, open) = (world.batch(0..2).await, world.batch(2..6).await);
    world.store.settle(&done, &[answered(0)]).await.unwrap();
    assert_eq!((world.known(&done).await.waiting, world.known(&open).await.waiting), (1, 4));
    world.store.close_batch(done.id, &Failure::new(Reason::Timeout, "it expired")).await.unwrap();
    assert_eq!(world.store.open_batches().await.unwrap(), [world.known(&open).await]);
    assert_eq!(world.known(&done).await.waiting, 0);
}

#[tokio::test]
async fn a_batch_that_is_read_twice_settles_each_question_once() {
    let world = World::new().await;
    let batch = world.batch(0..4).await;
    let lines = [
        answered(0),
        no_answer(1, Fate::Repair),
        no_answer(2, Fate::Failed),
        not_run(3),
        // A line that comes twice, and one for a question that is in no batch.
        no_answer(0, Fate::Failed),
        answered(77),
    ];
    assert_eq!(world.store.settle(&batch, &lines).await.unwrap(), 4);
    assert_eq!(world.other().await.settle(&batch, &lines).await.unwrap(), 0);
    let known = world.known(&batch).await;
    assert_eq!((known.answered, known.failed, known.again, known.cost), (1, 1, 2, dollars(1.0)));
    let stats = world.store.stats().await.unwrap();
    assert_eq!((stats.groups[0].answers, stats.attempts, stats.waiting), (1, 2, 0));

    let standings = world.store.stand(&slot(), &inputs(0..5), now()).await.unwrap().0;
    assert_eq!(standings[&digest(0)], Standing::New);
    assert_eq!(standings[&digest(1)], Standing::Again(turn_of(1, 0.25)));
    let failure = Failure::new(Reason::Invalid, "`overall` is 7, not one of 1 to 3");
    assert_eq!(standings[&digest(2)], Standing::Failed { failure, usage: usage(0.25), is_new: true });
    assert_eq!(standings[&digest(3)], Standing::Again(Turn::default()));
    assert_eq!(standings.len(), 4);
}

#[tokio::test]
async fn a_question_is_settled_by_the_batch_that_it_waits_in_alone() {
    let world = World::new().await;
    let first = world.batch(0..2).await;
    world.store.settle(&first, &[no_answer(0, Fate::Repair), not_run(1)]).await.unwrap();
    let second = world.store.begin_batch(&new()).await.unwrap();
    let taken = world.store.reserve(&second, &inputs(0..2)).await.unwrap();
    assert_eq!(taken[&digest(0)], turn_of(1, 0.25), "it is asked with a repair turn");
    assert_eq!(taken[&digest(1)], Turn::default());
    assert_eq!(world.store.settle(&first, &[answered(0)]).await.unwrap(), 0, "the older file is read again");
    assert_eq!(world.store.waiting_in(first.id, &inputs(0..2)).await.unwrap().len(), 0);
    assert_eq!(world.store.waiting_in(second.id, &inputs(0..2)).await.unwrap(), taken);
    assert_eq!(world.store.settle(&second, &[no_answer(0, Fate::Failed), answered(1)]).await.unwrap(), 2);
    let standings = world.store.stand(&slot(), &inputs(0..2), now()).await.unwrap().0;
    let failure = Failure::new(Reason::Invalid, "`overall` is 7, not one of 1 to 3");
    let both = Usage { input: 200, cached_input: 20, cache_write: 0, output: 40, cost: dollars(0.5) };
    assert_eq!(standings[&digest(0)], Standing::Failed { failure, usage: both, is_new: true });
}

#[tokio::test]
async fn what_is_answered_or_failed_is_not_reserved() {
    let world = World::new().await;
    let first = world.batch(0..3).await;
    let settled = [answered(0), no_answer(1, Fate::Failed), no_answer(2, Fate::Repair)];
    world.store.settle(&first, &settled).await.unwrap();
    let second = world.store.begin_batch(&new()).await.unwrap();
    let taken = world.store.reserve(&second, &inputs(0..3)).await.unwrap();
    assert_eq!(taken.keys().collect::<Vec<_>>(), [&digest(2)]);
    // An answer that came without any batch.
    world.sql("DELETE FROM batch_questions").await;
    assert!(!world.store.reserve(&second, &inputs(0..1)).await.unwrap().contains_key(&digest(0)));
    // A batch whose file is being sent takes no more.
    let change = Change { stage: Some(Stage::Spooled), ..Change::default() };
    world.store.change_batch(second.id, change).await.unwrap();
    assert!(world.store.reserve(&second, &inputs(5..6)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_batch_that_never_began_leaves_its_questions_as_they_were() {
    let world = World::new().await;
    let first = world.batch(0..2).await;
    world.store.settle(&first, &[no_answer(0, Fate::Repair), not_run(1)]).await.unwrap();
    let second = world.batch(0..5).await;
    let after_a_kill = world.other().await;
    after_a_kill.abandon_batch(second.id).await.unwrap();
    assert_eq!(after_a_kill.batches().await.unwrap().len(), 1);
    let standings = after_a_kill.stand(&slot(), &inputs(0..5), now()).await.unwrap().0;
    assert_eq!(standings[&digest(0)], Standing::Again(turn_of(1, 0.25)));
    assert_eq!(standings.len(), 2, "the others were never asked");
    after_a_kill.abandon_batch(second.id).await.unwrap();
    assert_eq!(world.states().await, BTreeMap::from([("again".into(), 2)]));
}

#[tokio::test]
async fn a_batch_of_which_some_is_settled_is_not_forgotten_when_it_is_taken_back() {
    let world = World::new().await;
    let batch = world.batch(0..3).await;
    world.store.settle(&batch, &[answered(0)]).await.unwrap();
    world.store.abandon_batch(batch.id).await.unwrap();
    let known = world.known(&batch).await;
    assert_eq!((known.stage, known.answered, known.cost), (Stage::Collected, 1, dollars(0.5)));
    assert_eq!(world.states().await, BTreeMap::from([("answered".into(), 1)]));
}

#[tokio::test]
async fn what_was_not_run_is_asked_again_and_what_is_lost_three_times_fails() {
    let world = World::new().await;
    let not_run = Failure::new(Reason::Timeout, "it expired");
    let lost = Failure::new(Reason::Connection, "it has no line");
    let first = world.batch(0..3).await;
    world.store.settle(&first, &[no_answer(2, Fate::Repair)]).await.unwrap();
    assert_eq!(world.store.close_batch(first.id, &not_run).await.unwrap(), 2);
    assert_eq!(world.store.close_batch(first.id, &not_run).await.unwrap(), 0, "twice is once");
    let known = world.known(&first).await;
    assert_eq!((known.stage, known.again, known.cost), (Stage::Collected, 3, dollars(0.25)));
    for (tries, again) in [(0, 3), (1, 2), (2, 0)] {
        let batch = world.store.begin_batch(&new()).await.unwrap();
        let taken = world.store.reserve(&batch, &inputs(0..3)).await.unwrap();
        assert_eq!(taken[&digest(0)].tries, tries);
        assert_eq!(world.store.close_batch(batch.id, &lost).await.unwrap(), again);
        assert_eq!(world.known(&batch).await.failed, taken.len() as u64 - again);
    }
    let standings = world.store.stand(&slot(), &inputs(0..3), now()).await.unwrap().0;
    assert!(matches!(&standings[&digest(0)], Standing::Failed { failure, .. } if *failure == lost));
}

#[tokio::test]
async fn being_not_run_does_not_hide_what_an_earlier_reply_was_wrong_for() {
    let world = World::new().await;
    let first = world.batch(0..1).await;
    world.store.settle(&first, &[no_answer(0, Fate::Repair)]).await.unwrap();
    for round in 0..2 {
        let batch = world.store.begin_batch(&new()).await.unwrap();
        let taken = world.store.reserve(&batch, &inputs(0..1)).await.unwrap();
        assert_eq!(taken[&digest(0)], turn_of(1, 0.25));
        if round == 0 {
            world.store.settle(&batch, &[not_run(0)]).await.unwrap();
        } else {
            world.store.close_batch(batch.id, &Failure::new(Reason::Timeout, "it expired")).await.unwrap();
        }
    }
    let standings = world.store.stand(&slot(), &inputs(0..1), now()).await.unwrap().0;
    assert_eq!(standings[&digest(0)], Standing::Again(turn_of(1, 0.25)));
}

#[tokio::test]
async fn the_first_of_two_processes_that_look_tells_of_what_is_new() {
    let world = World::new().await;
    let batch = world.batch(0..300).await;
    let settled: Vec<Settled> = (0..300).map(answered).collect();
    world.store.settle(&batch, &settled).await.unwrap();
    let (other, slot, inputs) = (world.other().await, slot(), inputs(0..300));
    let (one, two) =
        tokio::join!(world.store.stand(&slot, &inputs, now()), other.stand(&slot, &inputs, now()));
    let (one, two) = (one.unwrap().0, two.unwrap().0);
    for input in &inputs {
        let new = [&one, &two].into_iter().filter(|seen| seen[input] == Standing::New).count();
        assert_eq!(new, 1, "{input}");
    }
    let again = world.store.stand(&slot, &inputs, now()).await.unwrap().0;
    assert!(again.values().all(|standing| matches!(standing, Standing::Told(at) if *at > 1_700_000_000_000)));
}

#[tokio::test]
async fn of_a_question_that_was_answered_elsewhere_the_first_answer_stays_and_the_reply_is_history() {
    let world = World::new().await;
    let batch = world.batch(0..2).await;
    let Settled { fate: Fate::Answered(answer), .. } = answered(0) else { panic!("an answer") };
    let first = Answer { scores: vec![3.0], ..(*answer).clone() };
    let (slot, lens_digest) = (slot(), digest(999));
    let new = NewAnswer { slot: Arc::clone(&slot), input: digest(0), lens_digest, answer: Arc::new(first) };
    world.store.put(vec![new]).await.unwrap();
    assert_eq!(world.store.settle(&batch, &[answered(0), answered(1)]).await.unwrap(), 2);
    assert_eq!(world.states().await, BTreeMap::from([("answered".into(), 1)]));
    let known = world.known(&batch).await;
    assert_eq!((known.answered, known.waiting, known.cost), (2, 0, dollars(1.0)));
    assert_eq!(world.store.find(&slot, &inputs(0..1)).await.unwrap()[&digest(0)].scores, [3.0]);
    let attempt = sqlx::query("SELECT input, tokens_in, cost FROM attempts").fetch_one(&world.store.read);
    let attempt = attempt.await.unwrap();
    assert_eq!((attempt.get::<&[u8], _>(0), attempt.get(1), attempt.get(2)), (&digest(0).0[..], 100, 0.5));
}

#[tokio::test]
async fn a_reply_that_never_came_is_told_once_with_what_it_can_cost() {
    let world = World::new().await;
    let lost = Failure::new(Reason::Connection, "it has no line");
    for bound in [dollars(1.0), dollars(3.0)] {
        let batch = world.batch(0..4).await;
        let change = Change { sums: Some((10, bound)), ..Change::default() };
        world.store.change_batch(batch.id, change).await.unwrap();
        world.store.close_batch(batch.id, &lost).await.unwrap();
    }
    let stand = async |questions| world.store.stand(&slot(), &inputs(questions), now()).await.unwrap().1;
    assert_eq!(stand(0..3).await, Unsettled { attempts: 6, at_most: dollars(3.0) });
    assert_eq!(stand(0..4).await, Unsettled { attempts: 2, at_most: dollars(1.0) }, "the others are told");

    let batch = world.batch(0..4).await;
    world.store.change_batch(batch.id, Change { sums: Some((10, None)), ..Change::default() }).await.unwrap();
    world.store.close_batch(batch.id, &lost).await.unwrap();
    assert_eq!(stand(0..1).await, Unsettled { attempts: 1, at_most: None });
    let expired = world.batch(10..11).await;
    world.store.close_batch(expired.id, &Failure::new(Reason::Timeout, "it expired")).await.unwrap();
    assert_eq!(stand(10..11).await, Unsettled::default(), "it was not run");
}

#[tokio::test]
async fn what_waits_is_seen_without_telling_of_anything() {
    let world = World::new().await;
    let batch = world.batch(0..4).await;
    world
        .store
        .settle(&batch, &[answered(0), no_answer(1, Fate::Repair), no_answer(2, Fate::Failed)])
        .await
        .unwrap();
    let waiting = world.store.waiting(&slot(), &inputs(0..5)).await.unwrap();
    assert_eq!(waiting, [digest(3)].into());
    assert_eq!(world.store.stand(&slot(), &inputs(0..1), now()).await.unwrap().0[&digest(0)], Standing::New);
}

#[tokio::test]
async fn what_a_killed_run_had_told_is_new_again_and_nobody_who_lives_is_taken_for_killed() {
    let world = World::new().await;
    let batch = world.batch(0..3).await;
    let settled = [answered(0), no_answer(1, Fate::Failed), answered(2)];
    world.store.settle(&batch, &settled).await.unwrap();
    let (other, slot, inputs) = (world.other().await, slot(), inputs(0..3));
    let new = async |store: &Store, telling: &Telling| {
        let seen = store.stand(&slot, &inputs, telling.told_at).await.unwrap().0;
        let is_new = |standing: &Standing| match standing {
            Standing::Failed { is_new, .. } => *is_new,
            standing => *standing == Standing::New,
        };
        seen.values().filter(|standing| is_new(standing)).count()
    };
    let first = world.store.begin_telling().await.unwrap();
    assert_eq!(new(&world.store, &first).await, 3);
    // Another process begins while the first one lives.
    let second = other.begin_telling().await.unwrap();
    assert_eq!(new(&other, &second).await, 0);
    // It ends, and with it nothing of what the first one tells under another number. Then that is killed.
    other.forget_told(&[Arc::clone(&slot)], Forget::Failed, second.told_at - 1).await.unwrap();
    drop((first, second));
    let third = other.begin_telling().await.unwrap();
    assert_eq!(new(&other, &third).await, 3);
    // It ends early: its figures were shown.
    other.forget_told(&[Arc::clone(&slot)], Forget::Nothing, third.told_at).await.unwrap();
    drop(third);
    let fourth = world.store.begin_telling().await.unwrap();
    assert_eq!(new(&world.store, &fourth).await, 0);
    assert_eq!(world.states().await.values().sum::<i64>(), 3);
}

#[tokio::test]
async fn what_was_told_is_forgotten_and_nothing_else() {
    let world = World::new().await;
    let batch = world.batch(0..10).await;
    let mut settled: Vec<Settled> = (0..4).map(answered).collect();
    settled.extend((4..6).map(|n| no_answer(n, Fate::Failed)));
    settled.extend((6..8).map(|n| no_answer(n, Fate::Repair)));
    world.store.settle(&batch, &settled).await.unwrap();
    // Told: two answers, a failure. Answered by somebody else meanwhile: one that is to be asked again.
    world.store.stand(&slot(), &[digest(0), digest(1), digest(4), digest(6)], now()).await.unwrap();
    world.sql("INSERT INTO answers SELECT slot, x'00', text, scores, rationales, model_reported, finish_reason, tokens_in, \
        tokens_cached, tokens_out, cost, latency_ms, attempts, answered_at FROM answers LIMIT 1").await;
    let found = sqlx::query("UPDATE answers SET input = ? WHERE input = x'00'").bind(&digest(6).0[..]);
    found.execute(&world.store.read).await.unwrap();

    let elsewhere = Arc::new(Slot { version: 2, ..(*slot()).clone() });
    world.store.forget_told(&[elsewhere], Forget::Failed, now()).await.unwrap();
    assert_eq!(world.states().await.values().sum::<i64>(), 10, "another slot's");
    world.store.forget_told(&[slot()], Forget::Answered, now()).await.unwrap();
    let count = |states: &BTreeMap<String, i64>| {
        ["waiting", "again", "failed", "answered"].map(|state| states.get(state).copied().unwrap_or(0))
    };
    assert_eq!(count(&world.states().await), [2, 1, 2, 2]);
    world.store.forget_told(&[slot()], Forget::Failed, now()).await.unwrap();
    assert_eq!(count(&world.states().await), [2, 1, 1, 2]);
    assert!(world.store.has_batched(&slot()).await.unwrap());
    // A failure that a complete run has told of is asked again.
    let next = world.store.begin_batch(&new()).await.unwrap();
    assert_eq!(world.store.reserve(&next, &inputs(4..6)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_slot_without_batches_is_known_to_have_none() {
    let world = World::new().await;
    assert!(!world.store.has_batched(&slot()).await.unwrap());
    world.store.forget_told(&[slot()], Forget::Failed, now()).await.unwrap();
    assert!(world.store.stand(&slot(), &inputs(0..3), now()).await.unwrap().0.is_empty());
    let batch = world.batch(0..1).await;
    assert!(world.store.has_batched(&slot()).await.unwrap());
    world.store.abandon_batch(batch.id).await.unwrap();
    assert!(!world.store.has_batched(&slot()).await.unwrap());
}

#[tokio::test]
async fn what_a_newer_program_wrote_is_left_alone() {
    let world = World::new().await;
    let batch = world.batch(0..3).await;
    world.store.settle(&batch, &[no_answer(2, Fate::Failed)]).await.unwrap();
    world.sql("UPDATE batch_questions SET reason = 'boredom' WHERE state = 'failed'").await;
    world.sql("UPDATE batch_questions SET state = 'pondered' WHERE rowid = 1").await;
    world.sql("UPDATE batches SET form = 2, lens = 'packed'").await;
    assert_eq!((world.known(&batch).await.form, world.known(&batch).await.files.len()), (2, 0));
    let standings = world.store.stand(&slot(), &inputs(0..3), now()).await.unwrap().0;
    assert_eq!((&standings[&digest(0)], &standings[&digest(1)]), (&Standing::Waiting, &Standing::Waiting));
    let words = "boredom: `overall` is 7, not one of 1 to 3";
    assert!(matches!(&standings[&digest(2)], Standing::Failed { failure, .. } if failure.detail == words));
    world.sql("UPDATE batches SET stage = 'brewing'").await;
    assert_eq!(world.store.batches().await.unwrap()[0].stage, Stage::Newer);
    let next = world.store.begin_batch(&new()).await.unwrap();
    assert!(world.store.reserve(&next, &inputs(0..3)).await.unwrap().is_empty(), "nothing is asked twice");
    world.sql("UPDATE batches SET form = 1, stage = 'created', lens = 'packed'").await;
    assert!(world.store.batches().await.unwrap_err().to_string().contains("unreadable lens"));
}

#[tokio::test]
async fn a_lesson_is_kept_per_endpoint_and_model_and_added_to() {
    let world = World::new().await;
    assert_eq!(world.store.lesson(digest(1), "gpt").await.unwrap(), Lesson::default());
    let limit = Lesson { tokens: Some(2_000_000), dialect: None };
    let dialect = Lesson { tokens: None, dialect: Some("{}".into()) };
    for lesson in [&limit, &dialect] {
        world.store.learn(digest(1), "gpt", lesson).await.unwrap();
    }
    let both = Lesson { tokens: Some(2_000_000), dialect: Some("{}".into()) };
    assert_eq!(world.other().await.lesson(digest(1), "gpt").await.unwrap(), both);
    assert_eq!(world.store.lesson(digest(2), "gpt").await.unwrap(), Lesson::default());
}

#[tokio::test]
async fn a_lesson_is_forgotten_after_30_days_also_when_another_is_learned() {
    let world = World::new().await;
    let limit = Lesson { tokens: Some(2_000_000), dialect: None };
    world.store.learn(digest(1), "gpt", &limit).await.unwrap();
    // A minute less than 30 days, and then as much more.
    world.sql("UPDATE batch_lessons SET learned_at = learned_at - 2591940000").await;
    assert_eq!(world.store.lesson(digest(1), "gpt").await.unwrap(), limit);
    world.sql("UPDATE batch_lessons SET learned_at = learned_at - 120000").await;
    assert_eq!(world.store.lesson(digest(1), "gpt").await.unwrap(), Lesson::default());
    let dialect = Lesson { tokens: None, dialect: Some("{}".into()) };
    world.store.learn(digest(1), "gpt", &dialect).await.unwrap();
    assert_eq!(world.store.lesson(digest(1), "gpt").await.unwrap(), dialect);
}

#[tokio::test]
async fn a_question_is_known_while_it_waits_and_when_it_is_answered() {
    let world = World::new().await;
    let known = async |question| world.store.has_asked(&[digest(9), digest(question)]).await.unwrap();
    assert!(!known(0).await);
    let batch = world.batch(0..2).await;
    assert!(known(0).await && known(1).await && !known(2).await);
    world.store.settle(&batch, &[answered(0)]).await.unwrap();
    world.sql("DELETE FROM batch_questions").await;
    assert!(known(0).await && !known(1).await);
    assert!(!world.store.has_asked(&[]).await.unwrap());
}

#[tokio::test]
async fn pruning_keeps_what_waits_and_takes_what_came_of_batches() {
    let world = World::new().await;
    let done = world.batch(0..2).await;
    world.store.settle(&done, &[answered(0), no_answer(1, Fate::Failed)]).await.unwrap();
    world.store.close_batch(done.id, &Failure::new(Reason::Timeout, "it expired")).await.unwrap();
    let open = world.batch(2..4).await;
    let older = Prune { before: Some(1_700_000_000_001), ..Prune::default() };
    assert_eq!(
        world.store.prune(&older).await.unwrap(),
        1,
        "the answer says that it is older than its batch"
    );
    assert_eq!(world.states().await.values().sum::<i64>(), 4, "its batch is not");
    let next = world.store.begin_batch(&new()).await.unwrap();
    assert_eq!(
        world.store.reserve(&next, &inputs(0..2)).await.unwrap().len(),
        1,
        "without its answer it is asked again"
    );
    world.store.abandon_batch(next.id).await.unwrap();

    world.store.prune(&Prune::default()).await.unwrap();
    assert_eq!(world.states().await, BTreeMap::from([("waiting".into(), 2)]));
    let left: Vec<i64> = world.store.batches().await.unwrap().iter().map(|batch| batch.id).collect();
    assert_eq!(left, [open.id]);
    assert_eq!(world.store.settle(&open, &[answered(2)]).await.unwrap(), 1);
}

#[tokio::test]
async fn look_ups_go_by_the_question_whatever_the_size_of_its_batch() {
    let world = World::new().await;
    for (statement, index) in [
        (WAITING.as_str(), "(slot=? AND input=?)"),
        (STAND.as_str(), "(slot=? AND input=?)"),
        (TELL.as_str(), "(slot=? AND input=?)"),
        (TELL_LOST.as_str(), "(slot=? AND input=?)"),
        (FAIL_TURN.as_str(), "(slot=? AND input=?)"),
        (FORGET, "(slot=? AND input>? AND input<?)"),
    ] {
        let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")));
        let plan: Vec<String> =
            plan.fetch_all(&world.store.read).await.unwrap().iter().map(|row| row.get(3)).collect();
        let of_questions = plan.iter().find(|step| step.contains("batch_questions")).unwrap();
        assert!(of_questions.contains(index), "{plan:?}");
    }
}
