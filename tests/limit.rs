//! The bound on questions of a run whose number is not known before reading: it stops cleanly, and goes on later.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use classified::endpoint::{self, Endpoint, Options, ReplyForm};
use classified::meter::{Limits, Meter, Workers};
use classified::rate::ask::{Asker, Pulse, TargetForm};
use classified::rate::{Asks, End, Event, Plan, Rater, rate};
use classified::rating::Target;
use classified::rating::answer::Usage;
use classified::rating::question::{Digest, Form, Sampling};
use classified::store::{Slot, Store};
use classified::{chunk, dataset, hub, lens};
use futures::StreamExt as _;

use crate::standin::{Config, Standin};
use crate::world::World;

/// What a run asks of the column `text` through one lens, with a store of its own.
pub(crate) async fn plan(world: &World, standin: &Standin, questions: Option<u64>) -> Plan {
    let lens = Arc::new(lens::open("textbook_quality", &[]).unwrap());
    let options = Options {
        base_url: standin.url(),
        api_version: None,
        hosted: false,
        key: None,
        account: Vec::new(),
        model: "m".into(),
        answers: "m".into(),
        timeout: Duration::from_mins(1),
        max_generation_tokens: 256,
        sampling: Sampling::default(),
        reply: ReplyForm::Tools,
        tier: None,
        price: None,
    };
    let form = TargetForm {
        lens: Arc::clone(&lens),
        slot: Arc::new(Slot { lens: lens.name.clone(), model: "m".into(), version: 1, sample: 0 }),
        lens_digest: Digest([0; 32]),
        question: Form::new(&lens.function, lens.system(), &Sampling::default()),
        wire: endpoint::Form::new(&lens.function, lens.system(), &options).unwrap(),
        spent: Mutex::new(Usage::default()),
        unsettled: Mutex::default(),
    };
    let asker = Asker {
        endpoint: Arc::new(Endpoint::new(options).unwrap()),
        store: Arc::new(Store::open(&world.path("ratings.db").display().to_string()).await.unwrap()),
        meter: Arc::new(Meter::new(Limits { workers: Workers::Auto, rpm: None, tpm: None, max_cost: None })),
        policy: classified::rate::retry::Policy::default(),
        forms: vec![form],
        pulse: Pulse::default(),
    };
    let target =
        Target { scores: lens.scores.clone(), overall: lens.overall, lens, model: "m".into(), version: 1 };
    Plan {
        targets: vec![target],
        columns: vec!["text".into()],
        rater: Rater::Endpoint(Arc::new(asker)),
        limits: chunk::Limits::default(),
        first: None,
        questions_left: questions.map(|questions| Arc::new(AtomicU64::new(questions))),
        asks: Asks::Everything,
    }
}

async fn run(world: &World, plan: Plan) -> (usize, End) {
    let nowhere = |name: &str| (name == "HF_HOME").then(|| "/no/such/folder".to_owned());
    let hub = Arc::new(hub::Options::from(&nowhere).unwrap());
    let name = world.path("rows.jsonl").display().to_string();
    let request = dataset::Request::new(&name, vec!["text".into()], hub);
    let stop = tokio::sync::watch::Sender::new(false);
    let mut events = rate(Arc::new(plan), dataset::open(request).await.unwrap(), stop.subscribe());
    let mut rated = 0;
    while let Some(event) = events.next().await {
        match event {
            Event::Rated(rating) => {
                assert!(rating.failure().is_none());
                rated += 1;
            }
            Event::Progress(_) | Event::Note(_) => {}
            Event::End(end) => return (rated, end),
        }
    }
    panic!("the run has no end");
}

#[tokio::test]
async fn a_run_stops_at_its_bound_and_the_next_one_goes_on() {
    let (world, standin) = World::with_endpoint(Config::default());
    world.rows("rows.jsonl", 40);
    let (rated, end) = run(&world, plan(&world, &standin, Some(30)).await).await;
    assert!(matches!(end, End::QuestionLimit), "{end:?}");
    assert_eq!((rated, standin.counters().requests), (30, 30));
    // What the store knows does not count: the rest is within the bound.
    let (rated, end) = run(&world, plan(&world, &standin, Some(30)).await).await;
    assert!(matches!(end, End::Finished), "{end:?}");
    assert_eq!((rated, standin.counters().requests), (40, 40));
}
