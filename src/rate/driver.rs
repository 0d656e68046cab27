//! One run: its task owns the window and the waiting questions, draws rows, has them looked up and asked, commits answers, and tells of
//! rows in order.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::ask::{Queued, Unanswered};
use super::look_up::{Found, look_up};
use super::prepare::{Prepared, prepared};
use super::window::{Place, Window};
use super::{Asks, BATCH, End, Event, Left, Plan, Progress, Rater, slots};
use crate::dataset::Dataset;
use crate::rating::answer::{Answer, Usage};
use crate::rating::failure::Failure;
use crate::rating::question::{Digest, Question};
use crate::rating::{Fate, Source};
use crate::store::{self, Forget, NewAnswer, Standing, Telling, Turn};

/// Failed questions that a run remembers, so that their twins are not asked.
const REMEMBERED: usize = 10_000;

/// Answers gather for so long before they are committed together: a commit costs as much as several rows. What a
/// kill in the meantime loses is little beside what is in flight.
const GATHER: Duration = Duration::from_millis(8);

/// So few questions left say nothing of the endpoint when all of them fail.
const FEW: usize = 32;

/// How often progress is told of.
const TICK: Duration = Duration::from_millis(100);

/// A question within a run: its target and its digest.
type Subject = (usize, Digest);

/// Who waits for a question's answer: whoever asked first, and the twins.
type Waiting = HashMap<Subject, Vec<Place>>;

/// What came of asking a question.
type Asked = (Subject, Result<Arc<Answer>, Unanswered>);

/// What became of a commit: the questions, and what is stored for each.
type Committed = Result<(Vec<Subject>, Vec<Arc<Answer>>), store::Error>;

/// The state of a run.
pub(super) struct Driver {
    plan: Arc<Plan>,
    stop: watch::Receiver<bool>,
    /// Tells the questions in flight that the run ends, for whatever reason: they send nothing new.
    halt: watch::Sender<bool>,
    events: mpsc::Sender<Vec<Event>>,
    window: Window,
    waiting: Waiting,
    /// Questions that failed for what they ask: a twin that comes later would pay for the same failure.
    failed: HashMap<Subject, Failure>,
    /// Questions that the store does not know, in the order of the rows that ask them.
    queue: BTreeMap<Place, Queued>,
    /// Questions of which the store may know more by now, by target.
    again: Vec<Vec<Question>>,
    /// The mark of the store's batches when it was last looked at.
    mark: [i64; 3],
    /// Questions that are left to batches.
    left: Left,
    asking: JoinSet<Asked>,
    /// Answers that wait for their commit.
    answered: Vec<(Subject, Arc<Answer>)>,
    /// Answers in the commit that is under way.
    committing: usize,
    /// When the next commit may begin.
    commit_at: tokio::time::Instant,
    /// When the run began, in milliseconds since 1970.
    began: i64,
    progress: Progress,
    ticked: Instant,
    end: Option<End>,
}

impl Driver {
    pub(super) fn new(
        plan: Arc<Plan>,
        stop: watch::Receiver<bool>,
        events: mpsc::Sender<Vec<Event>>,
    ) -> Self {
        Self {
            stop,
            halt: watch::Sender::new(false),
            events,
            window: Window::default(),
            waiting: HashMap::new(),
            failed: HashMap::new(),
            queue: BTreeMap::new(),
            again: vec![Vec::new(); plan.targets.len()],
            mark: [0; 3],
            left: Left::default(),
            asking: JoinSet::new(),
            answered: Vec::new(),
            committing: 0,
            commit_at: tokio::time::Instant::now(),
            began: store::now(),
            progress: Progress::default(),
            ticked: Instant::now(),
            end: None,
            plan,
        }
    }

    /// Rates the dataset to its end, or to another.
    pub(super) async fn run(mut self, dataset: Dataset) {
        let mut batches = std::pin::pin!(prepared(Arc::clone(&self.plan), dataset.batches()));
        let mut lookups = FuturesUnordered::new();
        let mut commits = FuturesUnordered::new();
        let mut marks = FuturesUnordered::new();
        let mut drawn = false;
        let mut stop = self.stop.clone();
        let mut tick = tokio::time::interval(TICK);
        let telling = self.begin_telling().await.unwrap_or_else(|error| {
            self.stop_because(End::Failed(error.into()));
            Telling::at_once()
        });
        loop {
            let draw =
                !drawn && self.end.is_none() && self.queue.len() < BATCH && self.window.has_room_for(BATCH);
            let idle = lookups.is_empty() && self.asking.is_empty();
            if !draw && idle && commits.is_empty() && (drawn || self.end.is_some()) {
                break;
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop), if !*self.halt.borrow() => self.stop_because(End::Interrupted),
                Some(done) = self.asking.join_next() => self.settle(done),
                Some(committed) = commits.next(), if !commits.is_empty() => self.committed(committed),
                () = tokio::time::sleep_until(self.commit_at), if !self.answered.is_empty() && commits.is_empty() => {}
                Some(found) = lookups.next(), if !lookups.is_empty() => self.found(found),
                batch = batches.next(), if draw => match batch {
                    Some(Ok(rows)) => { let new = self.begin(rows); lookups.extend(self.look_up(new)); }
                    Some(Err(error)) => self.stop_because(End::Failed(error)),
                    None => drawn = true,
                },
                Some(mark) = marks.next(), if !marks.is_empty() => self.marked(mark),
                _ = tick.tick() => if marks.is_empty() { marks.extend(self.mark()) },
            }
            let again = self.again.iter_mut().map(std::mem::take).collect();
            lookups.extend(self.look_up(again));
            self.dispatch();
            if drawn && lookups.is_empty() && self.queue.is_empty() && self.asking.len() <= FEW {
                self.all_begun();
            }
            if commits.is_empty() && self.wants_commit() {
                commits.extend(self.commit());
            }
            if self.tell(false).await.is_err() {
                // Nobody listens any more: what is in flight is finished, so that it is kept.
                self.stop_because(End::Interrupted);
            }
        }
        if self.tell(false).await.is_ok() {
            self.told(telling.told_at).await;
        }
        drop(telling);
        // Without a consumer there is nobody to tell.
        let _ = self.tell(true).await;
    }

    /// Begins to tell of batches.
    async fn begin_telling(&mut self) -> Result<Telling, store::Error> {
        let Rater::Endpoint(asker) = &self.plan.rater else { return Ok(Telling::at_once()) };
        let has_batches = asker.store.batches_mark().await? != [0; 3];
        let telling = if has_batches { asker.store.begin_telling().await? } else { Telling::at_once() };
        asker.pulse.told_at.store(telling.told_at, Ordering::Relaxed);
        Ok(telling)
    }

    /// Ends the telling of batches: where every row was looked at, what was told is forgotten.
    async fn told(&mut self, told_at: i64) {
        let Rater::Endpoint(asker) = &self.plan.rater else { return };
        if self.end.is_none() && self.left != Left::default() {
            self.end = Some(End::Waiting(self.left));
        }
        let forget = match self.end {
            None | Some(End::Waiting(_)) => Forget::Answered,
            Some(_) => Forget::Nothing,
        };
        match asker.store.forget_told(&slots(asker), forget, told_at).await {
            Ok(()) => {}
            // It ends for another reason. What it told is told again.
            Err(error) if forget == Forget::Nothing => {
                tracing::warn!(%error, "what was told of batches is not noted");
            }
            Err(error) => self.stop_because(End::Failed(error.into())),
        }
    }

    /// Takes rows in; returns the questions that nobody waits for yet, by target.
    fn begin(&mut self, rows: Vec<Prepared>) -> Vec<Vec<Question>> {
        let mut new: Vec<Vec<Question>> = self.plan.targets.iter().map(|_| Vec::new()).collect();
        let mut failed = Vec::new();
        for row in rows {
            self.window.begin(row, |place, question| {
                let subject = (place.target, question.digest);
                if let Some(failure) = self.failed.get(&subject) {
                    failed.push((place, failure.clone()));
                    return;
                }
                let waiting = self.waiting.entry(subject).or_default();
                waiting.push(place);
                if waiting.len() == 1 {
                    new[place.target].push(question);
                }
            });
        }
        for (place, failure) in failed {
            self.window.answer(place, Err(failure), Source::Twin);
        }
        new
    }

    /// A look at the store's batches, while questions wait that another process may take into one.
    fn mark(&self) -> Option<impl Future<Output = Result<[i64; 3], store::Error>> + use<>> {
        let Rater::Endpoint(asker) = &self.plan.rater else { return None };
        let asker = Arc::clone(asker);
        (!self.waiting.is_empty()).then_some(async move { asker.store.batches_mark().await })
    }

    /// Takes in the mark of the store's batches.
    fn marked(&mut self, mark: Result<[i64; 3], store::Error>) {
        let is_same = mark.as_ref().is_ok_and(|mark| *mark == self.mark);
        self.mark = mark.unwrap_or_default();
        // Where the store cannot tell, each question looks for itself when its turn comes.
        if let (false, Rater::Endpoint(asker)) = (is_same, &self.plan.rater) {
            asker.pulse.batched.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The look-ups of questions by target.
    fn look_up(
        &self,
        questions: Vec<Vec<Question>>,
    ) -> impl Iterator<Item = impl Future<Output = Found> + use<>> + use<> {
        let plan = Arc::clone(&self.plan);
        let by_target = questions.into_iter().enumerate().filter(|(_, questions)| !questions.is_empty());
        by_target.map(move |(target, questions)| look_up(Arc::clone(&plan), target, questions))
    }

    fn found(&mut self, found: Found) {
        let Found { target, questions, known, batched } = found;
        let (known, mut standings) = match known {
            Ok(known) => known,
            Err(error) => return self.stop_because(End::Failed(error.into())),
        };
        for question in questions {
            let standing = standings.remove(&question.digest);
            if let Some(answer) = known.get(&question.digest) {
                self.known((target, question.digest), answer, standing.as_ref());
            } else if self.end.is_none() {
                self.unknown(target, (question, batched), standing);
            }
        }
    }

    /// Takes in a stored answer: from a batch it counts as asked by the first run that tells of it.
    fn known(&mut self, subject: Subject, answer: &Arc<Answer>, standing: Option<&Standing>) {
        let since = match standing {
            Some(Standing::New) => {
                self.spent(subject.0, &answer.provenance.usage);
                return self.answer(subject, &Ok(Arc::clone(answer)), Source::Asked);
            }
            Some(Standing::Told(at)) => *at,
            _ => answer.provenance.answered_at,
        };
        // A row that asks what an earlier row of this run has asked owes its answer to that row.
        let source = if since >= self.began { Source::Twin } else { Source::Cache };
        self.answer(subject, &Ok(Arc::clone(answer)), source);
    }

    /// Takes in a question without an answer: it is asked, or left to batches, or has failed in one.
    fn unknown(&mut self, target: usize, (question, batched): (Question, u64), standing: Option<Standing>) {
        let (subject, asks) = ((target, question.digest), self.plan.asks);
        let turn = match standing {
            Some(Standing::Waiting) => {
                self.left.waiting += 1;
                return self.leave(subject);
            }
            Some(Standing::Again(turn))
                if asks == Asks::Everything || (asks == Asks::Repairs && turn.wants_repair()) =>
            {
                turn
            }
            Some(Standing::Failed { failure, usage, is_new }) => {
                let usage = if is_new { usage } else { Usage::default() };
                if asks == Asks::Everything {
                    Turn { usage, ..Turn::default() }
                } else {
                    self.spent(target, &usage);
                    return self.answer(subject, &Err(failure), Source::Asked);
                }
            }
            // Its answer, or what became of it, is not kept any more.
            _ if asks == Asks::Everything => Turn::default(),
            _ => {
                self.left.unasked += 1;
                return self.leave(subject);
            }
        };
        if let Some(place) = self.waiting.get(&subject).and_then(|places| places.first()) {
            self.queue.insert(*place, Queued { question, turn, batched });
        }
    }

    /// Counts what replies in batches have used, once it is told of.
    fn spent(&self, target: usize, usage: &Usage) {
        if let Rater::Endpoint(asker) = &self.plan.rater {
            asker.forms[target].spend(usage);
        }
    }

    /// Leaves a question to batches: its rows are not told of, others go on.
    fn leave(&mut self, subject: Subject) {
        for place in self.waiting.remove(&subject).into_iter().flatten() {
            self.window.leave(place);
        }
    }

    /// Starts asking as far as the workers go: more than fit in flight, so that a free place is taken at once.
    fn dispatch(&mut self) {
        let Rater::Endpoint(asker) = &self.plan.rater else { return };
        let workers = asker.meter.workers();
        let at_once = workers + workers / 2 + 1;
        // A kill loses what is not committed: no more of that than is in flight anyway, also while the disk is slow.
        let at_risk = at_once + 2 * workers;
        while self.end.is_none()
            && self.asking.len() < at_once
            && self.asking.len() + self.answered.len() + self.committing < at_risk
        {
            let Some((Place { target, .. }, queued)) = self.queue.pop_first() else { return };
            if let Some(left) = &self.plan.questions_left {
                let taken =
                    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                if taken.is_err() {
                    return self.stop_because(End::QuestionLimit);
                }
            }
            let (asker, halt) = (Arc::clone(asker), self.halt.subscribe());
            self.asking.spawn(async move {
                let digest = queued.question.digest;
                ((target, digest), asker.ask(target, queued, halt).await)
            });
        }
    }

    /// Tells those who ask that no other question will show whether the endpoint works.
    fn all_begun(&self) {
        if let Rater::Endpoint(asker) = &self.plan.rater {
            asker.pulse.all_begun.store(true, Ordering::Relaxed);
        }
    }

    /// Takes in what a question came to, and what others have come to meanwhile.
    fn settle(&mut self, first: Result<Asked, tokio::task::JoinError>) {
        let mut next = Some(first);
        while let Some(done) = next {
            self.settle_one(done);
            next = self.asking.try_join_next();
        }
    }

    fn settle_one(&mut self, done: Result<Asked, tokio::task::JoinError>) {
        match done {
            Ok((subject, Ok(answer))) => self.answered.push((subject, answer)),
            Ok((subject, Err(Unanswered::Failed(failure)))) => {
                if failure.reason.is_of_the_question() && self.failed.len() < REMEMBERED {
                    self.failed.insert(subject, failure.clone());
                }
                self.answer(subject, &Err(failure), Source::Asked);
            }
            Ok((_, Err(Unanswered::NotReached))) => {}
            Ok(((target, _), Err(Unanswered::LookAgain(question)))) => {
                if let Some(left) = &self.plan.questions_left {
                    left.fetch_add(1, Ordering::Relaxed);
                }
                self.again[target].push(question);
            }
            Ok((_, Err(Unanswered::OutOfBudget(next)))) => self.stop_because(End::Budget(next)),
            Ok((_, Err(Unanswered::Stop(error)))) => self.stop_because(End::Failed(error)),
            Err(error) => self.stop_because(End::Failed(error.into())),
        }
    }

    /// Whether it is time to commit what was answered: nothing else will come soon, or enough has gathered.
    fn wants_commit(&self) -> bool {
        let Rater::Endpoint(asker) = &self.plan.rater else { return false };
        !self.answered.is_empty()
            && (self.asking.is_empty()
                || self.answered.len() >= asker.meter.workers().min(BATCH)
                || self.commit_at <= tokio::time::Instant::now())
    }

    /// The commit of all answers at hand; none without a store.
    fn commit(&mut self) -> Option<impl Future<Output = Committed> + use<>> {
        let Rater::Endpoint(asker) = &self.plan.rater else { return None };
        self.commit_at = tokio::time::Instant::now() + GATHER;
        let asker = Arc::clone(asker);
        let (subjects, new): (Vec<Subject>, Vec<NewAnswer>) = self
            .answered
            .drain(..)
            .map(|((target, input), answer)| {
                let form = &asker.forms[target];
                let (slot, lens_digest) = (Arc::clone(&form.slot), form.lens_digest);
                ((target, input), NewAnswer { slot, input, lens_digest, answer })
            })
            .unzip();
        self.committing = subjects.len();
        Some(async move { asker.store.put(new).await.map(|stored| (subjects, stored)) })
    }

    fn committed(&mut self, committed: Committed) {
        self.committing = 0;
        match committed {
            Ok((subjects, stored)) => {
                for (subject, answer) in subjects.into_iter().zip(stored) {
                    self.answer(subject, &Ok(answer), Source::Asked);
                }
            }
            Err(error) => self.stop_because(End::Failed(error.into())),
        }
    }

    fn answer(&mut self, subject: Subject, outcome: &Result<Arc<Answer>, Failure>, source: Source) {
        for (nth, place) in self.waiting.remove(&subject).into_iter().flatten().enumerate() {
            let source = if source == Source::Asked && nth > 0 { Source::Twin } else { source };
            self.window.answer(place, outcome.clone(), source);
        }
    }

    fn stop_because(&mut self, end: End) {
        self.queue.clear();
        // Questions up to the bound may still be asked; after any other end nothing new is sent.
        if !matches!(end, End::QuestionLimit) {
            self.halt.send_replace(true);
        }
        // The first reason is the one to tell; a failure outweighs a wish or a bound.
        let fails = matches!(end, End::Failed(_)) && !matches!(self.end, Some(End::Failed(_)));
        if self.end.is_none() || fails {
            self.end = Some(end);
        }
    }

    /// Hands over what is complete, and how far the run is.
    async fn tell(&mut self, last: bool) -> Result<(), mpsc::error::SendError<Vec<Event>>> {
        let mut ratings = Vec::new();
        if last {
            self.window.drain(&mut ratings);
        } else {
            self.window.finished(&mut ratings);
        }
        self.progress.done = self.window.closed();
        for rating in &ratings {
            match rating.fate() {
                Fate::Cached | Fate::Duplicate => self.progress.cached += 1,
                Fate::Failed(_) => self.progress.failed += 1,
                Fate::Rated | Fate::Empty | Fate::Screened => {}
            }
        }
        let ticks = last || self.ticked.elapsed() >= TICK;
        let mut events: Vec<Event> = ratings.into_iter().map(Event::Rated).collect();
        if ticks {
            self.ticked = Instant::now();
            if let Rater::Endpoint(asker) = &self.plan.rater {
                let state = asker.meter.state();
                (self.progress.paused, self.progress.spent) = (state.paused.zip(state.pause), state.spent);
                self.progress.usage = Usage::default();
                for form in &asker.forms {
                    self.progress.usage.add(&form.spent());
                }
            }
            if let Rater::Endpoint(asker) = &self.plan.rater {
                events.extend(asker.endpoint.notes().into_iter().map(Event::Note));
            }
            events.push(Event::Progress(self.progress));
        }
        if last {
            events.push(Event::End(self.end.take().unwrap_or(End::Finished)));
        }
        if events.is_empty() { Ok(()) } else { self.events.send(events).await }
    }
}
