//! What a run would ask and what that would cost: a look at its rows and into the store. Nothing is asked of the endpoint.

use std::collections::{HashMap, HashSet};
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::StreamExt;

use super::ask::{Asker, TargetForm, turns};
use super::prepare::prepared;
use super::window::Window;
use super::{Error, Plan, Rater};
use crate::chunk;
use crate::dataset::{Dataset, Row};
use crate::lens::Lens;
use crate::model::{Money, Price, Tier, Tokens, prompt_at_most};
use crate::rating::question::{Digest, Question};
use crate::store::Usual;

/// Tokens that chat servers write around each message.
const AROUND_MESSAGE: u64 = 4;

/// Tokens of the words that ask for a repair, at most: our own, and what was wrong.
const REPAIR: u64 = 1024;

/// Answers of the store from which their mean length is taken for that of answers to come.
const ENOUGH_ANSWERS: u64 = 10;

/// Which rows are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Each n-th row.
    Nth(u64),
    /// All of them, until more than so many questions would be asked.
    Until(u64),
}

/// Three figures, from the best case to the worst.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span<T> {
    /// The best case: what all prompts begin with comes from the server's cache, and answers are half as long as expected.
    pub low: T,
    /// Nothing comes from the server's cache, one request answers each question, answers are as long as earlier ones.
    pub expected: T,
    /// The worst case: each question needs a second turn, a prompt has a token for each byte, an answer takes all its room.
    pub high: T,
}

/// What one target would ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    /// Questions, twins counted once.
    pub questions: u64,
    /// Those that the store answers.
    pub cached: u64,
    /// Those that wait in batches: they are not asked.
    pub waiting: u64,
    /// Requests for the rest.
    pub requests: Span<u64>,
    /// Tokens of their prompts.
    pub prompt: Span<u64>,
    /// Tokens of the answers.
    pub answer: Span<u64>,
    /// Their cost when they are asked one by one; `None` where the price is unknown.
    pub cost: Option<Span<Money>>,
    /// Their cost as a batch; `None` where the price is unknown, or there is none to be halved.
    pub batch_cost: Option<Span<Money>>,
    /// How answers of the same lens and model were, where the store has enough of them; else their length is a guess.
    pub usual: Option<Usual>,
}

/// What a run over one dataset would ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// Rows that came.
    pub drawn: u64,
    /// Those that were looked at, for which the figures are.
    pub rows: u64,
    /// One per target.
    pub targets: Vec<Asking>,
}

impl<T: AddAssign> AddAssign for Span<T> {
    fn add_assign(&mut self, other: Self) {
        self.low += other.low;
        self.expected += other.expected;
        self.high += other.high;
    }
}

impl<T> Span<T> {
    /// Each figure turned into another.
    pub fn map<U>(self, turn: impl Fn(T) -> U) -> Span<U> {
        Span { low: turn(self.low), expected: turn(self.expected), high: turn(self.high) }
    }
}

impl Default for Asking {
    /// Nothing asked, at no cost.
    fn default() -> Self {
        Self {
            questions: 0,
            cached: 0,
            waiting: 0,
            requests: Span::default(),
            prompt: Span::default(),
            answer: Span::default(),
            cost: Some(Span::default()),
            batch_cost: Some(Span::default()),
            usual: None,
        }
    }
}

impl Asking {
    /// Questions that the store does not answer, and that wait in no batch.
    pub fn left(&self) -> u64 {
        self.questions - self.cached - self.waiting
    }

    /// The figures for `rows` rows, given those for `looked_at` of them.
    #[must_use]
    pub fn scaled(&self, rows: u64, looked_at: u64) -> Self {
        let count = |n: u64| scaled(n, rows, looked_at);
        let money = |cost: Span<Money>| cost.map(|cost| cost.part(rows, looked_at));
        let (cached, waiting) = (count(self.cached), count(self.waiting));
        Self {
            // So that what is left of the questions stays what is asked.
            questions: cached + waiting + count(self.left()),
            cached,
            waiting,
            requests: self.requests.map(count),
            prompt: self.prompt.map(count),
            answer: self.answer.map(count),
            cost: self.cost.map(money),
            batch_cost: self.batch_cost.map(money),
            usual: self.usual,
        }
    }

    /// Adds what another target asks.
    pub fn add(&mut self, other: &Self) {
        self.questions += other.questions;
        self.cached += other.cached;
        self.waiting += other.waiting;
        self.requests += other.requests;
        self.prompt += other.prompt;
        self.answer += other.answer;
        let sum = |(mut sum, more): (Span<Money>, Span<Money>)| {
            sum += more;
            sum
        };
        self.cost = self.cost.zip(other.cost).map(sum);
        self.batch_cost = self.batch_cost.zip(other.batch_cost).map(sum);
    }
}

impl Forecast {
    /// The figures for `rows` rows.
    #[must_use]
    pub fn scaled(&self, rows: u64) -> Vec<Asking> {
        self.targets.iter().map(|asking| asking.scaled(rows, self.rows.max(1))).collect()
    }
}

/// `n` of `looked_at` rows, for `rows` rows: the nearest count.
fn scaled(n: u64, rows: u64, looked_at: u64) -> u64 {
    let whole = u128::from(looked_at.max(1));
    let scaled = (u128::from(n) * u128::from(rows) + whole / 2) / whole;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Looks at a dataset without asking anything. Identical questions of the rows looked at count once.
pub async fn forecast(plan: Arc<Plan>, dataset: Dataset, look: Look) -> Result<Forecast, Error> {
    let drawn = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&drawn);
    let nth = if let Look::Nth(nth) = look { nth.max(1) } else { 1 };
    let is_looked_at = move || counter.fetch_add(1, Ordering::Relaxed).is_multiple_of(nth);
    let batches = dataset.batches().map(move |batch| {
        batch.map(|rows| rows.into_iter().filter(|_| is_looked_at()).collect::<Vec<Row>>())
    });
    let mut batches = std::pin::pin!(prepared(Arc::clone(&plan), batches));
    let mut forecast = Forecast { drawn: 0, rows: 0, targets: Vec::new() };
    let Rater::Endpoint(asker) = &plan.rater else {
        while let Some(batch) = batches.next().await {
            forecast.rows += batch?.len() as u64;
        }
        return Ok(Forecast { drawn: drawn.load(Ordering::Relaxed), ..forecast });
    };
    let mut targets = Vec::new();
    for form in &asker.forms {
        targets.push(Target::new(asker, form).await?);
    }
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        forecast.rows += batch.len() as u64;
        let mut window = Window::default();
        let mut questions: Vec<HashMap<Digest, Question>> = targets.iter().map(|_| HashMap::new()).collect();
        for row in batch {
            window.begin(row, |place, question| {
                questions[place.target].insert(question.digest, question);
            });
        }
        for (target, questions) in targets.iter_mut().zip(questions) {
            target.look_at(questions).await?;
        }
        let left: u64 = targets.iter().map(|target| target.asking.left()).sum();
        if matches!(look, Look::Until(enough) if left > enough) {
            break;
        }
    }
    forecast.drawn = drawn.load(Ordering::Relaxed);
    forecast.targets = targets.into_iter().map(|target| target.asking).collect();
    Ok(forecast)
}

/// Tokens of a text by the model's own tokenizer, or by ours where that is not known.
fn tokens(form: &TargetForm, text: &str) -> u64 {
    form.wire.tokenizer().map_or_else(|| chunk::count(text), |own| own.count(text)) as u64
}

/// A target, with what was counted of it.
struct Target<'a> {
    asker: &'a Asker,
    form: &'a TargetForm,
    /// Tokens that all its prompts begin with: the system message, and the function.
    shared: u64,
    /// Tokens that an answer is expected to have.
    answer: u64,
    seen: HashSet<Digest>,
    asking: Asking,
}

impl<'a> Target<'a> {
    async fn new(asker: &'a Asker, form: &'a TargetForm) -> Result<Self, Error> {
        let usual = asker.store.usual(&form.slot).await?.filter(|usual| usual.answers >= ENOUGH_ANSWERS);
        let (options, dialect) = (&asker.endpoint.options, asker.endpoint.dialect());
        let thinking = u64::from(form.wire.room(1, dialect).saturating_sub(options.max_generation_tokens));
        let answer = usual.map_or_else(|| guess(&form.lens) + thinking / 4, |usual| usual.tokens_out);
        Ok(Self {
            asker,
            form,
            shared: form.wire.fixed(dialect).into_iter().map(|text| tokens(form, text)).sum(),
            answer: answer.clamp(1, u64::from(form.wire.room(1, dialect))),
            seen: HashSet::new(),
            asking: Asking {
                cost: options.price.map(|_| Span::default()),
                batch_cost: options.price.filter(|price| *price != Price::FREE).map(|_| Span::default()),
                usual,
                ..Asking::default()
            },
        })
    }

    async fn look_at(&mut self, questions: HashMap<Digest, Question>) -> Result<(), Error> {
        let digests: Vec<Digest> =
            questions.keys().copied().filter(|digest| self.seen.insert(*digest)).collect();
        let (store, slot) = (&self.asker.store, &self.form.slot);
        let waiting = store.waiting(slot, &digests).await?;
        let known = store.find(slot, &digests).await?;
        for digest in digests {
            self.asking.questions += 1;
            if known.contains_key(&digest) {
                self.asking.cached += 1;
            } else if waiting.contains(&digest) {
                self.asking.waiting += 1;
            } else if let Some(question) = questions.get(&digest) {
                self.count(question)?;
            }
        }
        Ok(())
    }

    fn count(&mut self, question: &Question) -> Result<(), Error> {
        let (endpoint, wire) = (&self.asker.endpoint, &self.form.wire);
        let request = wire
            .request(&turns(question, None), 1, endpoint.dialect())
            .map_err(|error| Error::Endpoint(error.to_string()))?;
        let prompt = self.shared + tokens(self.form, &question.prompt) + 2 * AROUND_MESSAGE;
        // Where nothing bounds the answer, the room is what it should keep to.
        let room = request.answer_at_most.unwrap_or(request.room.into());
        let first = prompt_at_most(request.body.len());
        // The second turn sends the answer and what was wrong with it along.
        let second = first.saturating_add(room).saturating_add(REPAIR);
        let asking = &mut self.asking;
        asking.requests += Span { low: 1, expected: 1, high: 2 };
        asking.prompt += Span { low: prompt, expected: prompt, high: first.saturating_add(second) };
        let answer = Span { low: self.answer / 2, expected: self.answer, high: room.saturating_mul(2) };
        asking.answer += answer;
        let Some(price) = endpoint.options.price else { return Ok(()) };
        let cost = |tier: Tier, dearest: Tier| {
            let of = |cached, output| Tokens { input: prompt, cached, written: 0, output };
            Span {
                low: price.cost(of(self.shared, answer.low), tier),
                expected: price.cost(of(0, answer.expected), tier),
                high: price.bound(first, room, dearest) + price.bound(second, room, dearest),
            }
        };
        let asked = endpoint.tier();
        if let Some(sum) = &mut asking.cost {
            *sum += cost(asked.billed(Some(asked.as_str())), asked.dearest());
        }
        if let Some(sum) = &mut asking.batch_cost {
            *sum += cost(Tier::Batch, Tier::Batch);
        }
        Ok(())
    }
}

/// Tokens of an answer before any was seen: the form, a few words for each score, a few sentences for each rationale.
fn guess(lens: &Lens) -> u64 {
    20 + 8 * lens.scores.len() as u64 + 60 * lens.rationales.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_scaled_to_all_rows() {
        let asking = Asking {
            questions: 1_000,
            cached: 100,
            requests: Span { low: 900, expected: 900, high: 1_800 },
            cost: Some(Span { low: 1, expected: 2, high: 3 }.map(Money::from_pico)),
            batch_cost: Some(Span { low: 1, expected: 1, high: 2 }.map(Money::from_pico)),
            ..Asking::default()
        };
        let all = asking.scaled(64_000, 500);
        assert_eq!((all.questions, all.cached, all.requests.expected), (128_000, 12_800, 115_200));
        assert_eq!(all.cost.unwrap().high, Money::from_pico(384));
        assert_eq!(all.batch_cost.unwrap().high, Money::from_pico(256));
        assert_eq!(asking.scaled(7, 7), asking);
    }

    #[test]
    fn a_sum_has_a_cost_only_where_every_part_has_one() {
        let unknown = Asking { cost: None, batch_cost: None, ..Asking::default() };
        let mut sum = Asking::default();
        sum.add(&Asking::default());
        assert_eq!((sum.cost, sum.batch_cost), (Some(Span::default()), Some(Span::default())));
        sum.add(&unknown);
        assert_eq!((sum.cost, sum.batch_cost), (None, None));
    }
}
