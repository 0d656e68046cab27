//! Scripts: which requests do not get the default reply, and what they get.
//!
//! A script is a list of rules. The first rule that matches a request decides its reply; [`Action::Delay`],
//! [`Action::RateLimit`], [`Action::Usage`] and [`Action::Refuse`] pass a request that they let through on to the
//! rules below. As a file:
//!
//! ```json
//! [
//!   {"action": {"delay": 20}},
//!   {"times_per_question": 1, "action": {"status": {"code": 429, "headers": {"retry-after": "0"}}}},
//!   {"nth": {"start": 10, "end": 12}, "action": "cut_body"},
//!   {"contains": "ignore all", "action": {"refusal": "I will not rate this."}},
//!   {"during": {"start": 0, "end": 60000}, "action": {"rate_limit": {"per_minute": 600}}},
//!   {"during": {"start": 60001, "end": 600000}, "action": {"rate_limit": {"per_minute": 60}}},
//!   {"action": {"refuse": {"parameter": "temperature"}}},
//!   {"nth": {"start": 500, "end": 500}, "action": {"go_away": 5000}},
//!   {"times_per_question": 1, "action": {"wire": "reset"}},
//!   {"fraction": 0.05, "action": {"arguments": "{\"overall\": 9"}}
//! ]
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasherDefault,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use memchr::memmem;
use serde::{Deserialize, Deserializer};

use super::{
    completion::Says,
    journal::Identity,
    limit::{Account, Limit, RateLimit, Unit},
    reply,
    shape::{mix, unit},
    wire::Wire,
};

/// Rules, tried in order.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Script(pub(crate) Vec<Rule>);

/// When to do something other than answer. A rule matches where all its conditions hold; without any, always.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rule {
    /// The request's number among all completion requests, from 1.
    pub(crate) nth: Option<RangeInclusive<u64>>,
    /// When it comes, in milliseconds since the first completion request.
    pub(crate) during: Option<RangeInclusive<u64>>,
    /// Text that stands in the body as it came, JSON escapes included.
    pub(crate) contains: Option<String>,
    /// This share of all questions, chosen by digest: a question is always in or always out. Two rules of one
    /// script choose independently.
    pub(crate) fraction: Option<f64>,
    /// Only the first so many requests that match.
    pub(crate) times: Option<u64>,
    /// Only the first so many matches of each question (that is: of the same messages), so that every question
    /// fails so often and then succeeds.
    pub(crate) times_per_question: Option<u64>,
    /// What to do.
    pub(crate) action: Action,
}

impl Rule {
    /// This action, always.
    pub(crate) fn always(action: Action) -> Self {
        Self { action, ..Self::default() }
    }

    /// This action on the first `times` requests.
    pub(crate) fn first(times: u64, action: Action) -> Self {
        Self { times: Some(times), action, ..Self::default() }
    }

    /// This action once for each question.
    pub(crate) fn once_per_question(action: Action) -> Self {
        Self { times_per_question: Some(1), action, ..Self::default() }
    }
}

/// What a rule does.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Action {
    /// The default reply.
    #[default]
    Answer,
    /// Any status. A body that is a JSON string is sent as plain text; without a body, the usual error of that status.
    Status {
        /// 200 to 999; a status with an informational code is no final reply.
        code: u16,
        /// What stands in the reply.
        #[serde(default)]
        body: Option<serde_json::Value>,
        /// Headers, which win over those the stand-in sets.
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// Wait so many milliseconds, or until nothing is to take time any more, then look at the next rules.
    Delay(u64),
    /// 429 above the limit, below it the next rules. Replies carry `x-ratelimit-*` as the limit tells them.
    RateLimit(RateLimit),
    /// Other numbers in the usage of the reply that the rules below decide; above 0 what is told is a lie.
    Usage(Says),
    /// 400 with `error.param` where the request sets this parameter, else the next rules.
    Refuse {
        /// A key at the top of the request.
        parameter: String,
        /// Only with this value, as JSON text without spaces.
        #[serde(default)]
        value: Option<String>,
    },
    /// The answer of a server that never calls a tool: prose where tools are offered, JSON where
    /// `response_format` asks for it.
    NoTools,
    /// 200 with these bytes.
    RawBody {
        /// In a script file, text.
        #[serde(deserialize_with = "text_as_bytes")]
        bytes: Vec<u8>,
        /// The content type.
        content_type: String,
    },
    /// 200 with an HTML page, as from a proxy.
    NotJson,
    /// A tool call with this text as its arguments, valid or not.
    Arguments(String),
    /// This content, no tool call.
    Content(String),
    /// The answer in the old form, `message.function_call`.
    FunctionCall,
    /// The answer in the content, beside `tool_calls: []`.
    EmptyToolCalls,
    /// `message.refusal`.
    Refusal(String),
    /// The answer cut in half, with `finish_reason: "length"`.
    Length,
    /// No answer, with `finish_reason: "content_filter"`.
    ContentFilter,
    /// The answer with `usage: null`.
    UsageNull,
    /// The answer's head and half of its body, then the connection is closed.
    CutBody,
    /// The connection is closed without a byte.
    CloseWithoutReply,
    /// No reply as long as the connection is open.
    Hang,
    /// The server is gone for so many milliseconds, this request and all others with it: connections are refused.
    GoAway(u64),
    /// The default reply, or none, in bytes that few servers send.
    Wire(Wire),
}

impl Action {
    /// A status with the usual error for it.
    pub(crate) fn status(code: u16) -> Self {
        Self::Status { code, body: None, headers: BTreeMap::new() }
    }

    /// A status with `Retry-After` in seconds and the usual error for it.
    pub(crate) fn retry_after(code: u16, seconds: u64) -> Self {
        let headers = BTreeMap::from([("retry-after".to_owned(), seconds.to_string())]);
        Self::Status { code, body: None, headers }
    }

    /// A status with an error of this `error.code`, such as `(429, "insufficient_quota")`.
    pub(crate) fn error(code: u16, error_code: &str) -> Self {
        let body = reply::error_body(code, Some(error_code), &format!("scripted {error_code}"));
        // The body was written as JSON a line above.
        Self::Status { code, body: serde_json::from_str(&body).ok(), headers: BTreeMap::new() }
    }
}

impl Action {
    /// False only for a refusal of a parameter that the body does not set. Text in a message cannot be taken for
    /// one: its quotes are escaped.
    fn may_refuse(&self, body: &[u8]) -> bool {
        let Self::Refuse { parameter, value } = self else { return true };
        let key = format!("\"{parameter}\":{}", value.as_deref().unwrap_or_default());
        memmem::find(body, key.as_bytes()).is_some()
    }
}

fn text_as_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    String::deserialize(deserializer).map(String::into_bytes)
}

/// What the rules look at.
pub(super) struct Seen<'a> {
    /// 1-based number of the request.
    pub(super) number: u64,
    /// Digest of the messages.
    pub(super) question: u64,
    /// The body as it came.
    pub(super) body: &'a [u8],
    /// What a limit of tokens counts.
    pub(super) tokens: u64,
    /// When it came.
    pub(super) at: Instant,
}

/// What the rules decided.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Decision {
    /// The sum of all delays that applied.
    pub(super) delay: Duration,
    /// The state of the limits of requests and of tokens that were looked at last.
    pub(super) limits: [Option<Limit>; 2],
    /// What the usage says instead of the truth.
    pub(super) says: Says,
    /// What to do then.
    pub(super) action: Action,
}

/// A script with what has happened to it so far.
#[derive(Debug)]
pub(super) struct Play {
    scenes: Vec<Scene>,
    /// When the first request came.
    began: Option<Instant>,
}

#[derive(Debug)]
struct Scene {
    rule: Rule,
    /// Sets this rule's choice by digest apart from that of the others.
    salt: u64,
    matches: u64,
    per_question: HashMap<u64, u64, BuildHasherDefault<Identity>>,
    account: Option<Account>,
}

impl Play {
    pub(super) fn new(script: Script) -> Self {
        let scene = |(place, rule)| Scene {
            rule,
            salt: mix(place),
            matches: 0,
            per_question: HashMap::default(),
            account: None,
        };
        Self { scenes: (0..).zip(script.0).map(scene).collect(), began: None }
    }

    /// Whether the next request gets its reply before its body is read. No question is known then: of a rule's
    /// conditions only `times` counts.
    pub(super) fn early(&mut self) -> bool {
        let early = |scene: &&mut Scene| {
            scene.rule.action == Action::Wire(Wire::Early)
                && scene.rule.times.is_none_or(|times| scene.matches < times)
        };
        self.scenes.iter_mut().find(early).map(|scene| scene.matches += 1).is_some()
    }

    /// The reply to a request, and the script moves on.
    pub(super) fn decide(&mut self, seen: &Seen<'_>) -> Decision {
        let began = *self.began.get_or_insert(seen.at);
        let mut decision = Decision::default();
        for scene in &mut self.scenes {
            if !scene.applies(seen, began) {
                continue;
            }
            match &scene.rule.action {
                Action::Delay(milliseconds) => decision.delay += Duration::from_millis(*milliseconds),
                Action::Usage(says) => decision.says = says.clone(),
                // Passed on where the parameter is not set: `applies` has looked.
                Action::Refuse { parameter, .. } => {
                    decision.action = reply::refusal_of(parameter);
                    return decision;
                }
                Action::RateLimit(limit) => {
                    let unit = limit.unit;
                    let account = scene.account.get_or_insert_with(|| Account::full(limit.clone(), seen.at));
                    let limit = account.take(seen.at, seen.tokens);
                    decision.limits[usize::from(unit == Unit::Tokens)] = Some(limit);
                    if limit.wait.is_some() {
                        decision.action =
                            if limit.too_large { reply::too_large() } else { Action::status(429) };
                        return decision;
                    }
                }
                action => {
                    decision.action = action.clone();
                    return decision;
                }
            }
        }
        decision
    }
}

impl Scene {
    fn applies(&mut self, seen: &Seen<'_>, began: Instant) -> bool {
        let rule = &self.rule;
        let since = || u64::try_from((seen.at - began).as_millis()).unwrap_or(u64::MAX);
        let matches = rule.nth.as_ref().is_none_or(|nth| nth.contains(&seen.number))
            && rule.during.as_ref().is_none_or(|during| during.contains(&since()))
            && rule.action != Action::Wire(Wire::Early)
            && rule.action.may_refuse(seen.body)
            && rule.contains.as_ref().is_none_or(|text| memmem::find(seen.body, text.as_bytes()).is_some())
            && rule.fraction.is_none_or(|share| unit(mix(seen.question ^ self.salt)) < share);
        if !matches || rule.times.is_some_and(|times| self.matches >= times) {
            return false;
        }
        if let Some(times) = rule.times_per_question {
            let so_far = self.per_question.entry(seen.question).or_default();
            if *so_far >= times {
                return false;
            }
            *so_far += 1;
        }
        self.matches += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(rules: Vec<Rule>) -> Play {
        Play::new(Script(rules))
    }

    fn seen(number: u64, question: u64) -> Seen<'static> {
        let body = br#"{"messages":["say \"no\""],"temperature":0}"#;
        Seen { number, question, body, tokens: 100, at: Instant::now() }
    }

    fn actions(play: &mut Play, questions: &[u64]) -> Vec<Action> {
        (1..).zip(questions).map(|(number, &question)| play.decide(&seen(number, question)).action).collect()
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let mut play = play(vec![
            Rule { nth: Some(2..=3), action: Action::Hang, ..Rule::default() },
            Rule { contains: Some("nowhere".to_owned()), action: Action::CutBody, ..Rule::default() },
            Rule { contains: Some(r#"say \"no\""#.to_owned()), action: Action::NotJson, ..Rule::default() },
        ]);
        assert_eq!(
            actions(&mut play, &[0; 4]),
            [Action::NotJson, Action::Hang, Action::Hang, Action::NotJson]
        );
    }

    #[test]
    fn a_rule_can_apply_a_few_times_only() {
        let mut play = play(vec![Rule::first(2, Action::status(429))]);
        let refused = Action::status(429);
        assert_eq!(actions(&mut play, &[1, 2, 3]), [refused.clone(), refused, Action::Answer]);
    }

    #[test]
    fn a_rule_can_apply_once_to_each_question() {
        let mut play = play(vec![Rule::once_per_question(Action::Length)]);
        let expected = [Action::Length, Action::Answer, Action::Length, Action::Answer, Action::Answer];
        assert_eq!(actions(&mut play, &[7, 7, 8, 8, 7]), expected);
    }

    #[test]
    fn a_fraction_is_of_questions_and_each_rule_has_its_own() {
        let half = |action| Rule { fraction: Some(0.5), action, ..Rule::default() };
        let mut play = play(vec![half(Action::Hang), half(Action::Length)]);
        let questions: Vec<u64> = (0..4000).map(mix).collect();
        let first = actions(&mut play, &questions);
        assert_eq!(first, actions(&mut play, &questions));
        let count = |wanted: &Action| first.iter().filter(|action| *action == wanted).count();
        assert!((1800..2200).contains(&count(&Action::Hang)), "{}", count(&Action::Hang));
        assert!((850..1150).contains(&count(&Action::Length)), "{}", count(&Action::Length));
    }

    #[test]
    fn delays_add_up_and_pass_on() {
        let mut play = play(vec![
            Rule::always(Action::Delay(20)),
            Rule::always(Action::Delay(5)),
            Rule::always(Action::ContentFilter),
        ]);
        let decision = play.decide(&seen(1, 1));
        assert_eq!(decision.delay, Duration::from_millis(25));
        assert_eq!(decision.action, Action::ContentFilter);
    }

    #[test]
    fn a_rate_limit_refuses_above_it_and_passes_on_below() {
        let limit = Action::RateLimit(RateLimit::requests(60, 1));
        let mut play = play(vec![Rule::always(limit), Rule::always(Action::Hang)]);
        let at = Instant::now();
        let mut decide = || play.decide(&Seen { at, ..seen(1, 1) });
        let (below, above) = (decide(), decide());
        assert_eq!((below.action, below.limits[0].unwrap().wait), (Action::Hang, None));
        assert_eq!(
            (above.action, above.limits[0].unwrap().wait),
            (Action::status(429), Some(Duration::from_secs(1)))
        );
    }

    #[test]
    fn requests_and_tokens_have_limits_of_their_own() {
        let mut play = play(vec![
            Rule::always(Action::RateLimit(RateLimit::requests(60, 10))),
            Rule::always(Action::RateLimit(RateLimit::tokens(600, 150))),
        ]);
        let at = Instant::now();
        let first = play.decide(&Seen { at, ..seen(1, 1) });
        assert_eq!(first.limits.map(|limit| limit.unwrap().remaining), [9, 50]);
        let second = play.decide(&Seen { at, ..seen(2, 2) });
        assert_eq!(second.limits.map(|limit| limit.unwrap().wait), [None, Some(Duration::from_secs(5))]);
        let huge = play.decide(&Seen { at, tokens: 151, ..seen(3, 3) });
        assert_eq!(huge.action, reply::too_large());
    }

    #[test]
    fn a_rule_can_hold_for_a_time() {
        let mut play =
            play(vec![Rule { during: Some(1000..=1999), action: Action::Hang, ..Rule::default() }]);
        let began = Instant::now();
        let mut after =
            |ms| play.decide(&Seen { at: began + Duration::from_millis(ms), ..seen(1, 1) }).action;
        assert_eq!(
            [after(0), after(999), after(1000), after(1999), after(2000)],
            [Action::Answer, Action::Answer, Action::Hang, Action::Hang, Action::Answer]
        );
    }

    #[test]
    fn a_parameter_is_refused_where_it_is_set_to_that() {
        let refused = |parameter: &str, value: Option<&str>| {
            let refuse = Action::Refuse { parameter: parameter.to_owned(), value: value.map(str::to_owned) };
            let mut play = play(vec![Rule::always(refuse), Rule::always(Action::Hang)]);
            play.decide(&seen(1, 1)).action != Action::Hang
        };
        assert!(refused("temperature", None) && refused("temperature", Some("0")));
        assert!(!refused("temperature", Some("1")) && !refused("say", None) && !refused("seed", None));
    }

    #[test]
    fn an_early_reply_knows_no_question() {
        let mut play = play(vec![Rule::first(1, Action::Wire(Wire::Early)), Rule::always(Action::Hang)]);
        assert_eq!(play.decide(&seen(1, 1)).action, Action::Hang);
        assert_eq!([play.early(), play.early()], [true, false]);
    }

    #[test]
    fn every_action_can_be_written_in_a_file() {
        let script = r#"[
            {"nth": {"start": 1, "end": 2}, "times": 3, "fraction": 0.5, "times_per_question": 1, "contains": "x",
             "action": {"status": {"code": 429, "body": "slow down", "headers": {"retry-after": "1"}}}},
            {"action": {"delay": 20}}, {"action": {"rate_limit": {"per_minute": 60}}},
            {"action": {"raw_body": {"bytes": "x", "content_type": "text/plain"}}}, {"action": "not_json"},
            {"action": {"arguments": "{"}}, {"action": {"content": "no"}}, {"action": "function_call"},
            {"action": "empty_tool_calls"}, {"action": {"refusal": "no"}}, {"action": "length"},
            {"action": "content_filter"}, {"action": "usage_null"}, {"action": "cut_body"},
            {"action": "close_without_reply"}, {"action": "hang"}, {"action": "answer"}, {},
            {"action": {"rate_limit": {"per_minute": 60, "burst": 2, "unit": "tokens", "window": {"fixed": 60},
             "told": {"claim": 600}}}}, {"action": {"usage": {"prompt": 4096, "cached": 1024, "tier": "flex"}}},
            {"action": {"refuse": {"parameter": "tool_choice", "value": "\"required\""}}},
            {"action": "no_tools"}, {"action": {"go_away": 500}}, {"action": {"wire": {"trickle": 1000}}}
        ]"#;
        let Script(rules) = serde_json::from_str(script).unwrap();
        assert_eq!(rules.len(), 24);
        assert_eq!(rules[0].nth, Some(1..=2));
        assert_eq!(rules[17].action, Action::Answer);
        let mistyped = serde_json::from_str::<Script>(r#"[{"time": 1}]"#).unwrap_err().to_string();
        assert!(mistyped.contains("unknown field `time`"), "{mistyped}");
    }
}
