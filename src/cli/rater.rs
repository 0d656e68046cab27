//! From settings to raters: opens the lenses, the endpoint and the store, and plans runs over datasets.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use super::exit::usage;
use super::llama;
use super::settings::{HEURISTIC, LensArgs, RaterArgs, Settings, StoreArgs};
use crate::console::Console;
use crate::dataset::Shape;
use crate::endpoint::{self, Endpoint, Listing, ReplyForm};
use crate::lens::{self, Lens, Origin};
use crate::llama::{Props, Server};
use crate::meter::Meter;
use crate::model::Money;
use crate::rate::ask::{Asker, Pulse, TargetForm};
use crate::rate::retry::Policy;
use crate::rate::{Asks, Plan, Rater, Screen};
use crate::rating::Target;
use crate::rating::answer::Usage;
use crate::rating::question::{self, Digest, Sampling};
use crate::rating::summary::Summary;
use crate::store::{self, Journal, Slot, Store};
use crate::{chunk, heuristic};

/// Who rates, ready for runs over datasets.
#[derive(Debug)]
pub(super) enum Raters {
    /// In-process.
    Heuristic(Computed),
    /// A chat endpoint and the store of its answers.
    Endpoint(Box<Hosted>),
}

/// The heuristic, one kind per lens.
#[derive(Debug)]
pub(super) struct Computed {
    kinds: Vec<heuristic::Kind>,
    /// Where its runs are noted, if that can be had; its ratings are not kept.
    store: Option<Arc<Store>>,
}

/// A chat endpoint and what belongs to it.
#[derive(Debug)]
pub(super) struct Hosted {
    endpoint: Arc<Endpoint>,
    meter: Arc<Meter>,
    store: Arc<Store>,
    sampling: Sampling,
    /// Who really answers.
    model: String,
    /// The server that we started for it, which lives as long as this.
    server: Option<Server>,
}

/// Opens the lenses of a command, and says how columns become their fields. Each lens must read as many fields as
/// columns are given; lenses of two fields also read one column of messages.
pub(super) fn open_lenses(
    names: &[String],
    args: &LensArgs,
    columns: &[String],
) -> anyhow::Result<(Vec<Arc<Lens>>, Shape)> {
    if names.is_empty() || columns.is_empty() {
        return Err(usage("give at least one column and one lens, such as: markdown textbook_quality"));
    }
    let mut lenses: Vec<Arc<Lens>> = Vec::new();
    for name in names {
        if lenses.iter().any(|lens| lens.name == *name) {
            continue;
        }
        lenses.push(Arc::new(lens::open(name, std::slice::from_ref(&args.lens_dir))?));
    }
    if columns.len() == 1 && lenses.iter().all(|lens| lens.fields.len() == 2) {
        return Ok((lenses, Shape::Conversation));
    }
    for lens in &lenses {
        if lens.fields.len() != columns.len() {
            return Err(usage(format!(
                "lens {} reads {} ({}), but {} given ({}): name one column for each, in this order",
                lens.name,
                count(lens.fields.len(), "field"),
                lens.fields.join(", "),
                if columns.len() == 1 {
                    "1 column is".to_owned()
                } else {
                    format!("{} columns are", columns.len())
                },
                columns.join(", "),
            )));
        }
    }
    Ok((lenses, Shape::Columns))
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

impl Raters {
    /// Whoever `--model` names.
    pub(super) async fn open(
        settings: &Settings,
        lenses: &[Arc<Lens>],
        console: &Console,
    ) -> anyhow::Result<Self> {
        let args = &settings.rater;
        tell_of_lenses(lenses, *console);
        if args.model == HEURISTIC {
            let store = open_history(&settings.store, *console).await;
            return Self::heuristic(lenses, store, *console);
        }
        let options = args.gguf().is_none().then(|| args.endpoint()).transpose()?;
        let store = open_store(&settings.store, console).await?;
        let Some(options) = options else {
            return Ok(Self::Endpoint(Box::new(Hosted::start(settings, store, lenses, console).await?)));
        };
        let mut endpoint = Endpoint::new(options)?;
        let (model, listed) = resolve(&endpoint, &store, console).await?;
        let props = llama::look(&endpoint).await;
        endpoint.options.reply = reply_form(endpoint.options.reply, props.as_ref(), *console);
        let hosted = Hosted::new(args, endpoint, store, model)?;
        if let Some(slots) = props.and_then(|props| props.slots) {
            hosted.meter.set_most(slots);
        }
        let today = endpoint::Day::of_millis(store::now());
        if let Some(warning) = endpoint::shutdown_warning(&hosted.model, listed, today) {
            console.warn(&warning);
        }
        Ok(Self::Endpoint(Box::new(hosted)))
    }

    /// Whoever `--model` names, of whom nothing will be asked: no key is needed, nobody is connected to, and no server is
    /// started. Who really answers is who did so last, as far as the store remembers.
    pub(super) async fn open_unasked(
        settings: &Settings,
        lenses: &[Arc<Lens>],
        console: &Console,
    ) -> anyhow::Result<Self> {
        let args = &settings.rater;
        tell_of_lenses(lenses, *console);
        if args.model == HEURISTIC {
            return Self::heuristic(lenses, None, *console);
        }
        let store = open_store(&settings.store, console).await?;
        let (options, model) = if let Some(path) = args.gguf() {
            let model = llama::identify(settings, path, &store, console).await?;
            // Where it would listen is not known, and nobody is asked there.
            (args.own_endpoint(&model)?, model)
        } else {
            let options = args.endpoint_unasked()?;
            let endpoint = Endpoint::new(options.clone())?;
            let remembered = store.remembered_model(&options.model, endpoint.url_digest()).await?;
            let model = remembered.unwrap_or_else(|| options.model.clone());
            (options, model)
        };
        Ok(Self::Endpoint(Box::new(Hosted::new(args, Endpoint::new(options)?, store, model)?)))
    }

    fn heuristic(lenses: &[Arc<Lens>], store: Option<Store>, console: Console) -> anyhow::Result<Self> {
        let kinds = lenses.iter().map(|lens| kind(lens)).collect::<anyhow::Result<_>>()?;
        console.note(heuristic::DISCLAIMER);
        Ok(Self::Heuristic(Computed { kinds, store: store.map(Arc::new) }))
    }

    /// Names no service tier in requests: a batch is one by itself.
    pub(super) fn without_tier(&mut self) {
        if let Self::Endpoint(hosted) = self
            && let Some(endpoint) = Arc::get_mut(&mut hosted.endpoint)
        {
            endpoint.options.tier = None;
        }
    }

    /// Where runs are noted, and the ratings of an endpoint are kept.
    pub(super) fn store(&self) -> Option<&Arc<Store>> {
        match self {
            Self::Heuristic(computed) => computed.store.as_ref(),
            Self::Endpoint(hosted) => Some(&hosted.store),
        }
    }

    /// Waits until a server that we started ends by itself, and says why; for ever, where there is none.
    pub(super) async fn server_ended(&self) -> anyhow::Error {
        let server = match self {
            Self::Endpoint(hosted) => hosted.server.as_ref(),
            Self::Heuristic(_) => None,
        };
        let Some(server) = server else { return std::future::pending().await };
        let error = server.ended().await;
        anyhow::anyhow!("{error}\nwhat was rated until then is kept: the same command goes on from there")
    }

    /// Ends a server that we started at once.
    pub(super) fn kill_server(&self) {
        if let Self::Endpoint(hosted) = self
            && let Some(server) = &hosted.server
        {
            server.kill();
        }
    }

    /// Who answers, as the cache key has it.
    pub(super) fn model(&self) -> &str {
        match self {
            Self::Heuristic(_) => HEURISTIC,
            Self::Endpoint(hosted) => &hosted.model,
        }
    }

    /// Whether ratings are computed here, and nobody is asked.
    pub(super) fn is_in_process(&self) -> bool {
        matches!(self, Self::Heuristic(_))
    }

    /// Whether somebody else may send a bill.
    pub(super) fn bills(&self) -> bool {
        match self {
            Self::Heuristic(_) => false,
            Self::Endpoint(hosted) => !hosted.endpoint.is_local(),
        }
    }

    /// What was spent of the cap on money, all runs of the command together.
    pub(super) fn spent(&self) -> Money {
        match self {
            Self::Heuristic(_) => Money::ZERO,
            Self::Endpoint(hosted) => hosted.meter.state().spent,
        }
    }

    /// A run over one dataset.
    pub(super) fn plan(&self, lenses: &[Arc<Lens>], columns: &[String], cuts: Cuts) -> anyhow::Result<Plan> {
        let targets = lenses
            .iter()
            .map(|lens| {
                let (scores, overall) = match self {
                    Self::Heuristic(_) => (vec![lens.scores[lens.overall].clone()], 0),
                    Self::Endpoint(_) => (lens.scores.clone(), lens.overall),
                };
                let (lens, model) = (Arc::clone(lens), self.model().to_owned());
                Target { lens, scores, overall, model, version: cuts.version }
            })
            .collect();
        let rater = match self {
            Self::Heuristic(computed) => Rater::Heuristic(computed.kinds.clone()),
            Self::Endpoint(hosted) => Rater::Endpoint(Arc::new(hosted.asker(lenses, cuts.version)?)),
        };
        let screen = |at_least| -> anyhow::Result<Screen> {
            let kinds = lenses.iter().map(|lens| kind(lens)).collect::<anyhow::Result<_>>()?;
            Ok(Screen { kinds, at_least })
        };
        Ok(Plan {
            targets,
            columns: columns.to_vec(),
            rater,
            limits: cuts.limits,
            first: cuts.first.map(screen).transpose()?,
            questions_left: None,
            asks: Asks::Everything,
        })
    }

    /// Says which lenses have ratings under an earlier text, which no longer count.
    pub(super) async fn tell_of_older_texts(
        &self,
        lenses: &[Arc<Lens>],
        version: u32,
        console: &Console,
    ) -> anyhow::Result<()> {
        let Self::Endpoint(hosted) = self else { return Ok(()) };
        for lens in lenses {
            let others = hosted.store.other_texts(&hosted.slot(lens, version), lens_digest(lens)).await?;
            if others > 0 {
                console.note(&format!(
                    "lens {}: the store has ratings by {} under {} of this lens; they are not used",
                    lens.name,
                    hosted.model,
                    count(usize::try_from(others).unwrap_or(usize::MAX), "other text")
                ));
            }
        }
        Ok(())
    }

    /// Waits until the store is written.
    pub(super) async fn close(&self) -> anyhow::Result<()> {
        match self.store() {
            None => Ok(()),
            Some(store) => Ok(store.close().await?),
        }
    }
}

/// How texts are cut, and under which version the ratings are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cuts {
    /// How texts are cut.
    pub(super) limits: chunk::Limits,
    /// `--version`.
    pub(super) version: u32,
    /// The heuristic's lowest score with which a row is asked about, where it goes first.
    pub(super) first: Option<f64>,
}

impl Hosted {
    /// The endpoint, of which it is known who answers there. A cap on money needs a price.
    fn new(args: &RaterArgs, mut endpoint: Endpoint, store: Store, model: String) -> anyhow::Result<Self> {
        endpoint.options.price = args.price(&model);
        endpoint.options.answers.clone_from(&model);
        if args.max_cost.is_some() && endpoint.options.price.is_none() {
            return Err(usage(format!(
                "--max-cost needs a price, and the table has none for {model}: give it with --price IN,OUT in US dollars \
                 per million tokens (--price 0,0 for a server of your own), or leave --max-cost out"
            )));
        }
        Ok(Self {
            endpoint: Arc::new(endpoint),
            meter: Arc::new(Meter::new(args.limits())),
            store: Arc::new(store),
            sampling: args.sampling()?,
            model,
            server: None,
        })
    }

    /// A server of our own for the model's file that `--model` names.
    async fn start(
        settings: &Settings,
        store: Store,
        lenses: &[Arc<Lens>],
        console: &Console,
    ) -> anyhow::Result<Self> {
        let args = &settings.rater;
        let path = Path::new(&args.model);
        let model = llama::identify(settings, path, &store, console).await?;
        let mut options = args.own_endpoint(&model)?;
        let forms = lenses
            .iter()
            .map(|lens| endpoint::Form::new(&lens.function, lens.system(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        let server = llama::start(settings, (path, &model), &forms, lenses, console).await?;
        options.base_url = server.url();
        options.key = Some(server.key());
        options.reply = reply_form(options.reply, Some(&server.props), *console);
        let hosted = Self::new(args, Endpoint::new(options)?, store, model)?;
        if let Some(slots) = server.props.slots {
            hosted.meter.set_most(slots);
        }
        Ok(Self { server: Some(server), ..hosted })
    }

    fn slot(&self, lens: &Lens, version: u32) -> Slot {
        Slot { lens: lens.name.clone(), model: self.model.clone(), version, sample: 0 }
    }

    fn asker(&self, lenses: &[Arc<Lens>], version: u32) -> anyhow::Result<Asker> {
        let forms = lenses
            .iter()
            .map(|lens| {
                Ok(TargetForm {
                    lens: Arc::clone(lens),
                    slot: Arc::new(self.slot(lens, version)),
                    lens_digest: lens_digest(lens),
                    question: question::Form::new(&lens.function, lens.system(), &self.sampling),
                    wire: endpoint::Form::new(&lens.function, lens.system(), &self.endpoint.options)?,
                    spent: Mutex::new(Usage::default()),
                    unsettled: Mutex::default(),
                })
            })
            .collect::<Result<Vec<TargetForm>, endpoint::Error>>();
        let forms = forms.map_err(|error| usage(error.to_string()))?;
        let dialect = self.endpoint.dialect();
        if self.meter.counts_cost() && forms.iter().any(|form| form.wire.answer_at_most(1, dialect).is_none())
        {
            return Err(usage(
                "--max-cost needs a bound on the answer: `max_tokens`, `max_completion_tokens` and `n` in --extra-body must \
                 be whole numbers",
            ));
        }
        Ok(Asker {
            endpoint: Arc::clone(&self.endpoint),
            store: Arc::clone(&self.store),
            meter: Arc::clone(&self.meter),
            policy: Policy::default(),
            forms,
            pulse: Pulse::default(),
        })
    }
}

/// Says what is particular about the lenses.
fn tell_of_lenses(lenses: &[Arc<Lens>], console: Console) {
    for lens in lenses {
        if let (Origin::Folder(folder), Ok(built_in)) = (&lens.origin, lens::open(&lens.name, &[]))
            && built_in.files != lens.files
        {
            console.note(&format!(
                "lens {} is that of {}, not the built-in one",
                lens.name,
                folder.display()
            ));
        }
        for warning in &lens.warnings {
            console.warn(&format!("lens {}: {warning}", lens.name));
        }
    }
}

/// The store of runs that need none: without it they go on.
async fn open_history(args: &StoreArgs, console: Console) -> Option<Store> {
    let opened = match args.url() {
        Ok(url) => Store::open(&url).await.map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    match opened {
        Ok(store) => {
            console.note(&format!("the run is recorded in {}", store.path.display()));
            Some(store)
        }
        Err(error) => {
            console.warn(&format!("the run is not recorded for reports: {error}"));
            None
        }
    }
}

async fn open_store(args: &StoreArgs, console: &Console) -> anyhow::Result<Store> {
    let store = Store::open(&args.url()?).await?;
    console.note(&format!("ratings are kept in {}", store.path.display()));
    if store.journal == Journal::Rollback {
        console.note(
            "its file system cannot do write-ahead logging: it uses a rollback journal, which is slower",
        );
    }
    Ok(store)
}

/// How a llama.cpp is asked whose model's template has no place for functions: it would pass them over without a word.
fn reply_form(reply: ReplyForm, props: Option<&Props>, console: Console) -> ReplyForm {
    if reply == ReplyForm::Auto && props.and_then(|props| props.calls_functions) == Some(false) {
        console.note("the model's chat template takes no functions: the answer is asked for as JSON Schema");
        return ReplyForm::JsonSchema;
    }
    reply
}

/// Who really answers under the name that was asked for, remembered for runs that cannot reach the endpoint; and until
/// when, where the endpoint says so.
async fn resolve(
    endpoint: &Endpoint,
    store: &Store,
    console: &Console,
) -> anyhow::Result<(String, Option<endpoint::Day>)> {
    let (name, url) = (&endpoint.options.model, endpoint.url_digest());
    let shown = endpoint.shown_url();
    let endpoint::Listed { listing, shutdown } = endpoint.models().await?;
    let why = match listing {
        Listing::One(only) => {
            if only != *name {
                console
                    .note(&format!("{shown} serves one model: {only}; its ratings are kept under that name"));
            }
            store.remember_model(name, url, &only).await?;
            return Ok((only, shutdown));
        }
        Listing::Other => {
            store.remember_model(name, url, name).await?;
            return Ok((name.clone(), shutdown));
        }
        Listing::Unclear(why) | Listing::Unreachable(why)
            if let Some(model) = store.remembered_model(name, url).await? =>
        {
            console.warn(&format!(
                "{shown} does not say who answers ({why}); taking it for {model}, which answered there last"
            ));
            return Ok((model, None));
        }
        Listing::Unclear(why) => {
            console.warn(&format!(
                "{shown} does not say who answers ({why}); ratings are kept under the name {name}"
            ));
            return Ok((name.clone(), None));
        }
        Listing::Unreachable(why) => why,
    };
    anyhow::bail!(
        "the endpoint {shown} cannot be reached: {why}; check OPENAI_BASE_URL, and that the server runs"
    )
}

fn kind(lens: &Lens) -> anyhow::Result<heuristic::Kind> {
    let Some(kind) = &lens.heuristic else {
        return Err(usage(format!(
            "the heuristic has no signals for lens {}: it rates the built-in lenses, and lenses whose config.json says \
             \"heuristic\": \"prose\", \"code\" or \"instruct\"",
            lens.name
        )));
    };
    kind.parse().map_err(|_| {
        usage(format!(
            "lens {}: \"heuristic\" is \"{kind}\"; it can be \"prose\", \"code\" or \"instruct\"",
            lens.name
        ))
    })
}

/// The digest of a lens's text: what an answer depends on beside the row and the sampling. `config.json` says how
/// answers are read, not how they are asked for.
pub(super) fn lens_digest(lens: &Lens) -> Digest {
    let asked: serde_json::Map<_, _> = lens
        .files
        .iter()
        .filter(|(name, _)| *name != "config.json")
        .map(|(name, text)| (name.clone(), json!(text)))
        .collect();
    Digest::of(&asked.into())
}

/// Adds to each target's summary what its questions used.
pub(super) fn settle(plan: &Plan, summaries: &mut [Summary]) {
    let Rater::Endpoint(asker) = &plan.rater else { return };
    for (summary, form) in summaries.iter_mut().zip(&asker.forms) {
        summary.usage = form.spent();
        summary.unsettled = *form.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
    }
}
