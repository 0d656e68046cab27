//! What a run makes of questions that are or were in batches, and which questions a batch is made of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use classified::dataset::{self, Dataset};
use classified::endpoint::Dialect;
use classified::hub;
use classified::model::Money;
use classified::rate::ask::{Asker, TargetForm};
use classified::rate::{Asks, End, Event, Left, Plan, Rater, forget_failures, rate, unanswered};
use classified::rating::answer::{Answer, Provenance, Unsettled, Usage};
use classified::rating::failure::{Failure, Reason};
use classified::rating::question::{Digest, Question};
use classified::rating::{Fate, Rating};
use classified::store::{self, Batch, Change, NewAnswer, NewBatch, Settled, Store, Turn};
use futures::StreamExt as _;
use serde_json::json;

use crate::limit;
use crate::standin::{Action, Config, Rule, Script, Standin};
use crate::world::{World, text};

/// A world with rows, and what a run would ask of them.
struct Batched {
    world: World,
    standin: Standin,
    questions: Vec<Question>,
}

impl Batched {
    /// Rows of these numbers, which are their texts.
    async fn of(rows: &[usize], config: Config) -> Self {
        let (world, standin) = World::with_endpoint(config);
        let lines: Vec<String> = rows.iter().map(|row| json!({"text": text(*row)}).to_string()).collect();
        world.write("rows.jsonl", lines.join("\n"));
        let mut batched = Self { world, standin, questions: Vec::new() };
        batched.questions = batched.unanswered().await;
        batched
    }

    async fn plan(&self, asks: Asks) -> Arc<Plan> {
        let mut plan = limit::plan(&self.world, &self.standin, None).await;
        plan.asks = asks;
        Arc::new(plan)
    }

    async fn rows(&self) -> Dataset {
        let nowhere = |name: &str| (name == "HF_HOME").then(|| "/no/such/folder".to_owned());
        let hub = Arc::new(hub::Options::from(&nowhere).unwrap());
        let name = self.world.path("rows.jsonl").display().to_string();
        dataset::open(dataset::Request::new(&name, vec!["text".into()], hub)).await.unwrap()
    }

    async fn unanswered(&self) -> Vec<Question> {
        let plan = self.plan(Asks::Nothing).await;
        let groups: Vec<_> = unanswered(plan, self.rows().await).collect().await;
        groups.into_iter().flat_map(Result::unwrap).map(|(_, question)| question).collect()
    }

    async fn store(&self) -> Arc<Store> {
        let plan = self.plan(Asks::Nothing).await;
        Arc::clone(store_of(&plan))
    }

    /// A batch of the questions of these rows, in which all of them wait.
    async fn batch(&self, rows: impl IntoIterator<Item = usize>) -> Batch {
        let plan = self.plan(Asks::Nothing).await;
        let form = form_of(&plan);
        let new = NewBatch {
            slot: Arc::clone(&form.slot),
            digest: form.lens_digest,
            files: BTreeMap::new(),
            asked: "m".into(),
            url: None,
            place: None,
            dialect: "{}".into(),
            price: None,
        };
        let store = store_of(&plan);
        let batch = store.begin_batch(&new).await.unwrap();
        let rows: Vec<Digest> = rows.into_iter().map(|row| self.questions[row].digest).collect();
        assert_eq!(store.reserve(&batch, &rows).await.unwrap().len(), rows.len());
        batch
    }

    async fn settle(&self, batch: &Batch, fates: impl IntoIterator<Item = (usize, store::Fate)>) {
        let settled: Vec<Settled> = fates
            .into_iter()
            .map(|(row, fate)| Settled { input: self.questions[row].digest, usage: used(1), fate })
            .collect();
        let count = self.store().await.settle(batch, &settled).await.unwrap();
        assert_eq!(count, settled.len() as u64);
    }

    /// What a run comes to.
    async fn run(&self, asks: Asks) -> Outcome {
        let plan = self.plan(asks).await;
        let stop = tokio::sync::watch::Sender::new(false);
        let mut events = rate(Arc::clone(&plan), self.rows().await, stop.subscribe());
        let mut outcome = Outcome::default();
        while let Some(event) = events.next().await {
            match event {
                Event::Rated(rating) => outcome.rows.push((row_of(&rating), rating.fate())),
                Event::Progress(progress) => outcome.done = progress.done,
                Event::Note(_) => {}
                Event::End(end) => {
                    outcome.left = match end {
                        End::Finished => {
                            forget_failures(&plan).await.unwrap();
                            None
                        }
                        End::Waiting(left) => Some((left.waiting, left.unasked)),
                        other => panic!("{other:?}"),
                    };
                    outcome.input = form_of(&plan).spent().input;
                    outcome.requests = self.standin.counters().requests;
                    store_of(&plan).close().await.unwrap();
                    return outcome;
                }
            }
        }
        panic!("the run has no end");
    }
}

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    rows: Vec<(usize, Fate)>,
    /// Questions that wait, and those that nobody has asked; nothing where the run is complete.
    left: Option<(u64, u64)>,
    done: u64,
    /// Input tokens that were told of: a batch's reply has one, the endpoint's hundreds.
    input: u64,
    /// Requests of this world so far.
    requests: u64,
}

fn asker_of(plan: &Plan) -> &Asker {
    let Rater::Endpoint(asker) = &plan.rater else { panic!("not an endpoint") };
    asker
}

fn store_of(plan: &Plan) -> &Arc<Store> {
    &asker_of(plan).store
}

fn form_of(plan: &Plan) -> &TargetForm {
    &asker_of(plan).forms[0]
}

/// The row's place in its file.
fn row_of(rating: &Rating) -> usize {
    rating.record.id.rsplit_once('#').unwrap().1.parse().unwrap()
}

fn used(input: u64) -> Usage {
    Usage { input, ..Usage::default() }
}

fn answered() -> store::Fate {
    store::Fate::Answered(an_answer())
}

fn an_answer() -> Arc<Answer> {
    let provenance = Provenance { usage: used(1), answered_at: 1, ..Provenance::default() };
    Arc::new(Answer { scores: vec![2.0; 9], rationales: vec![String::new()], provenance })
}

fn invalid() -> Failure {
    Failure::new(Reason::Invalid, "`overall` is 7, not one of 1 to 3")
}

fn lost() -> Failure {
    Failure::new(Reason::Connection, "the batch has no line for it")
}

/// Six rows: answered, failed, to be repaired, lost, waiting, and in no batch yet.
async fn one_of_each() -> (Batched, Batch) {
    let batched = Batched::of(&[0, 1, 2, 3, 4, 5], Config::default()).await;
    let done = batched.batch(0..4).await;
    let fates = [
        (0, answered()),
        (1, store::Fate::Failed(invalid())),
        (2, store::Fate::Repair(invalid())),
        (3, store::Fate::Repair(lost())),
    ];
    batched.settle(&done, fates).await;
    let open = batched.batch([4]).await;
    (batched, open)
}

#[tokio::test]
async fn the_questions_without_an_answer_come_in_the_order_of_the_rows_and_rows_that_ask_nothing_are_passed_over()
 {
    let rows: Vec<usize> = (0..300).chain([7, 299]).collect();
    let mut batched = Batched::of(&rows, Config::default()).await;
    assert_eq!(
        batched.questions.len(),
        301,
        "299 is asked in the same breath as its twin, 7 was long before"
    );
    for (row, question) in batched.questions.iter().take(300).enumerate() {
        assert!(question.prompt.contains(&text(row)), "row {row}");
    }
    batched.questions.truncate(300);
    let batch = batched.batch(0..300).await;
    batched.settle(&batch, (0..299).map(|row| (row, answered()))).await;
    let left = batched.unanswered().await;
    assert_eq!(
        left.iter().map(|question| question.digest).collect::<Vec<_>>(),
        [batched.questions[299].digest]
    );

    let lines = [r#"{"text": ""}"#, "{broken", r#"{"text": null}"#, r#"{"text": "short and new"}"#];
    batched.world.write("rows.jsonl", lines.join("\n"));
    assert_eq!(batched.unanswered().await.len(), 1);
}

#[tokio::test]
async fn a_run_that_asks_nothing_tells_what_batches_brought_and_leaves_the_rest() {
    let (batched, _) = one_of_each().await;
    let first = batched.run(Asks::Nothing).await;
    let failed = (1, Fate::Failed(Reason::Invalid));
    let told =
        Outcome { rows: vec![(0, Fate::Rated), failed], left: Some((1, 3)), done: 6, input: 2, requests: 0 };
    assert_eq!(first, told);
    // What one run has told of is another one's cache, and costs it nothing.
    let second = batched.run(Asks::Nothing).await;
    assert_eq!(second, Outcome { rows: vec![(0, Fate::Cached), failed], input: 0, ..told });
}

#[tokio::test]
async fn repairs_may_be_asked_live_and_say_what_was_wrong() {
    let (batched, _) = one_of_each().await;
    let outcome = batched.run(Asks::Repairs).await;
    assert_eq!(outcome.rows, [(0, Fate::Rated), (1, Fate::Failed(Reason::Invalid)), (2, Fate::Rated)]);
    assert_eq!((outcome.left, outcome.requests), (Some((1, 2)), 1));
    let body = batched.standin.requests().pop().unwrap().json();
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 4);
    assert_eq!(messages[2]["content"], "(no answer)", "the reply is not kept");
    assert!(messages[3]["content"].as_str().unwrap().contains("`overall` is 7"));
}

#[tokio::test]
async fn a_live_run_asks_everything_but_what_waits() {
    let (batched, open) = one_of_each().await;
    let outcome = batched.run(Asks::Everything).await;
    let rated: Vec<_> = [0, 1, 2, 3, 5].into_iter().map(|row| (row, Fate::Rated)).collect();
    assert_eq!(outcome.rows, rated);
    assert_eq!((outcome.left, outcome.requests), (Some((1, 0)), 4));
    // One token of the answer, and of each earlier reply of what was asked now.
    let live: u64 = batched.standin.counters().prompt_tokens;
    assert_eq!(outcome.input, live + 4);

    batched.settle(&open, [(4, answered())]).await;
    let outcome = batched.run(Asks::Everything).await;
    assert_eq!((outcome.left, outcome.requests), (None, 4));
    assert_eq!(
        outcome.rows.iter().filter(|(_, fate)| *fate == Fate::Rated).collect::<Vec<_>>(),
        [&(4, Fate::Rated)]
    );
    let plan = batched.plan(Asks::Nothing).await;
    assert!(!store_of(&plan).has_batched(&form_of(&plan).slot).await.unwrap(), "all is told and forgotten");
}

#[tokio::test]
async fn a_live_repair_that_fails_too_fails_the_row() {
    let config = Config {
        script: Script(vec![Rule::always(Action::Arguments(r#"{"overall": 9}"#.into()))]),
        ..Config::default()
    };
    let batched = Batched::of(&[0, 1], config).await;
    let batch = batched.batch([0]).await;
    batched.settle(&batch, [(0, store::Fate::Repair(invalid()))]).await;
    let open = batched.batch([1]).await;
    let outcome = batched.run(Asks::Repairs).await;
    let failed = (0, Fate::Failed(Reason::Invalid));
    assert_eq!(outcome.rows, [failed]);
    assert_eq!((outcome.left, outcome.requests), (Some((1, 0)), 1), "one repair turn in all");
    let live: u64 = batched.standin.counters().prompt_tokens;
    assert_eq!(outcome.input, live + 1, "and the reply in the batch is told of, too");

    // It has failed, as any other question: until a complete run has told of it.
    let outcome = batched.run(Asks::Repairs).await;
    assert_eq!((outcome.rows, outcome.input, outcome.requests), (vec![failed], 0, 1));
    batched.settle(&open, [(1, answered())]).await;
    let outcome = batched.run(Asks::Repairs).await;
    assert_eq!((outcome.rows, outcome.left), (vec![failed, (1, Fate::Rated)], None));
    assert_eq!(batched.unanswered().await.len(), 1);
    let next = batched.batch([0]).await;
    assert!(next.id > open.id, "it is handed over once more");
}

#[tokio::test]
async fn what_is_handed_over_while_a_run_goes_on_is_not_asked_by_it() {
    // More rows than are held at once: while the first one has no reply the last ones are not looked up.
    const MANY: usize = 4_400;
    let script = Script(vec![Rule::always(Action::Delay(3_600_000))]);
    let rows: Vec<usize> = (0..MANY).collect();
    let batched = Batched::of(&rows, Config { script, ..Config::default() }).await;
    let (batch, store) = (batched.batch([]).await, batched.store().await);
    let plan = batched.plan(Asks::Everything).await;
    let form = form_of(&plan);
    let known = |question: &Question| NewAnswer {
        slot: Arc::clone(&form.slot),
        input: question.digest,
        lens_digest: form.lens_digest,
        answer: an_answer(),
    };
    store.put(batched.questions[1..MANY - 10].iter().map(known).collect()).await.unwrap();
    let last: Vec<Digest> = batched.questions[MANY - 10..].iter().map(|question| question.digest).collect();
    let stop = tokio::sync::watch::Sender::new(false);
    let mut events = rate(Arc::clone(&plan), batched.rows().await, stop.subscribe());
    let handing_over = async {
        while batched.standin.counters().requests == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(store.reserve(&batch, &last).await.unwrap().len(), 10);
        batched.standin.hurry();
    };
    let rating = async {
        let mut rated = 0;
        loop {
            match events.next().await.unwrap() {
                Event::Rated(_) => rated += 1,
                Event::End(end) => break (rated, end),
                Event::Progress(_) | Event::Note(_) => {}
            }
        }
    };
    let ((), (rated, end)) = tokio::join!(handing_over, rating);
    assert!(matches!(end, End::Waiting(Left { waiting: 10, unasked: 0 })), "{end:?}");
    assert_eq!((rated, batched.standin.counters().requests), (MANY - 10, 1));
    store_of(&plan).close().await.unwrap();
}

#[tokio::test]
async fn what_was_looked_up_already_is_not_asked_when_it_is_handed_over_before_its_turn() {
    let script = Script(vec![Rule::always(Action::Delay(3_600_000))]);
    let rows: Vec<usize> = (0..200).collect();
    let batched = Batched::of(&rows, Config { script, ..Config::default() }).await;
    let (batch, store) = (batched.batch([]).await, batched.store().await);
    let plan = batched.plan(Asks::Everything).await;
    let last: Vec<Digest> = batched.questions[190..].iter().map(|question| question.digest).collect();
    let stop = tokio::sync::watch::Sender::new(false);
    let mut events = rate(Arc::clone(&plan), batched.rows().await, stop.subscribe());
    // All rows were looked up together: they stand behind the first ones, which have no reply.
    let seen = || asker_of(&plan).pulse.batched.load(Ordering::Relaxed);
    let (mut rated, mut reserved, mut hurried) = (0, false, false);
    let end = loop {
        match events.next().await.unwrap() {
            Event::End(end) => break end,
            Event::Progress(_) if !reserved && seen() == 1 && batched.standin.counters().requests > 0 => {
                assert_eq!(store.reserve(&batch, &last).await.unwrap().len(), 10);
                // A quick endpoint has answered some already.
                batched.settle(&batch, (190..195).map(|row| (row, answered()))).await;
                reserved = true;
            }
            Event::Progress(_) if reserved && seen() > 1 && !hurried => {
                batched.standin.hurry();
                hurried = true;
            }
            Event::Rated(rating) => rated += u32::from(rating.fate() == Fate::Rated),
            Event::Progress(_) | Event::Note(_) => {}
        }
    };
    assert!(matches!(end, End::Waiting(Left { waiting: 5, unasked: 0 })), "{end:?}");
    assert_eq!((rated, batched.standin.counters().requests), (195, 190));
    store_of(&plan).close().await.unwrap();
}

#[tokio::test]
async fn a_reply_that_never_came_counts_as_an_attempt_of_unknown_bill_in_one_run() {
    let batched = Batched::of(&[0, 1], Config::default()).await;
    let batch = batched.batch([0, 1]).await;
    let change = Change { sums: Some((2, Some(Money::from_dollars(0.5)))), ..Change::default() };
    batched.store().await.change_batch(batch.id, change).await.unwrap();
    batched.store().await.close_batch(batch.id, &lost()).await.unwrap();
    let half = Unsettled { attempts: 2, at_most: Some(Money::from_dollars(0.5)) };
    for unsettled in [half, Unsettled::default()] {
        let plan = batched.plan(Asks::Nothing).await;
        let stop = tokio::sync::watch::Sender::new(false);
        let events: Vec<Event> =
            rate(Arc::clone(&plan), batched.rows().await, stop.subscribe()).collect().await;
        assert!(matches!(events.last(), Some(Event::End(End::Waiting(_)))));
        assert_eq!(*form_of(&plan).unsettled.lock().unwrap(), unsettled);
    }
}

#[tokio::test]
async fn of_twins_the_first_is_rated_and_the_others_are_duplicates() {
    // Far apart: the last row is looked up after the first one was told of.
    let rows: Vec<usize> = [0, 0].into_iter().chain(1..300).chain([0]).collect();
    let batched = Batched::of(&rows, Config::default()).await;
    let batch = batched.batch(0..300).await;
    batched.settle(&batch, (0..300).map(|row| (row, answered()))).await;
    let outcome = batched.run(Asks::Nothing).await;
    let duplicates: Vec<_> =
        outcome.rows.iter().filter(|(_, fate)| *fate == Fate::Duplicate).map(|(row, _)| *row).collect();
    assert_eq!(duplicates, [1, 301]);
    assert_eq!(outcome.rows.iter().filter(|(_, fate)| *fate == Fate::Rated).count(), 300);
    assert_eq!((outcome.left, outcome.input), (None, 300));
}

#[tokio::test]
async fn a_complete_run_tells_of_a_failure_and_the_next_batch_asks_it_again() {
    let batched = Batched::of(&[0, 1], Config::default()).await;
    let batch = batched.batch(0..2).await;
    batched.settle(&batch, [(0, answered()), (1, store::Fate::Failed(invalid()))]).await;
    let outcome = batched.run(Asks::Nothing).await;
    assert_eq!((outcome.left, outcome.rows.len(), outcome.input), (None, 2, 2));
    assert_eq!(batched.unanswered().await.len(), 1);
    let again = batched.batch([1]).await;
    let outcome = batched.run(Asks::Nothing).await;
    assert_eq!((outcome.left, outcome.rows), (Some((1, 0)), vec![(0, Fate::Cached)]));
    batched.settle(&again, [(1, answered())]).await;
    assert_eq!(batched.run(Asks::Nothing).await.rows, [(0, Fate::Cached), (1, Fate::Rated)]);
}

#[tokio::test]
async fn more_rows_than_are_held_at_once_may_be_left() {
    let rows: Vec<usize> = (0..5_000).collect();
    let batched = Batched::of(&rows, Config::default()).await;
    batched.batch(0..4_990).await;
    let outcome = batched.run(Asks::Nothing).await;
    assert_eq!(outcome, Outcome { left: Some((4_990, 10)), done: 5_000, ..Outcome::default() });
}

#[tokio::test]
async fn the_request_of_a_turn_has_what_was_wrong_or_twice_the_room_and_its_tokens_are_counted() {
    let batched = Batched::of(&[0], Config::default()).await;
    let (plan, question) = (batched.plan(Asks::Nothing).await, &batched.questions[0]);
    let form = form_of(&plan);
    let ask = |tries: u32, last: Option<Failure>| {
        let turn = Turn { tries, last, usage: Usage::default() };
        let (request, tokens) = form.request(question, &turn, Dialect::default()).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        (body["messages"].as_array().unwrap().len(), body["max_tokens"].as_u64().unwrap(), tokens)
    };
    let (messages, room, usual) = ask(0, None);
    assert_eq!((messages, room), (2, 256));
    assert!(usual > 200, "the row's text alone has about 200 tokens: {usual}");
    let (messages, room, repair) = ask(1, Some(invalid()));
    assert_eq!((messages, room), (4, 256));
    assert!(repair > usual + 20, "{repair} after {usual}");
    assert_eq!(ask(1, Some(Failure::new(Reason::Truncated, "cut"))), (2, 512, usual));
    assert_eq!(ask(1, Some(lost())), (2, 256, usual), "a lost reply says nothing of the question");
}

#[tokio::test]
async fn a_slot_without_batches_leaves_what_it_may_not_ask() {
    let batched = Batched::of(&[0, 1], Config::default()).await;
    let outcome = batched.run(Asks::Nothing).await;
    assert_eq!((outcome.left, outcome.requests), (Some((0, 2)), 0));
}
