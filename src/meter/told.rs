//! What the headers of a reply tell of the account's limits.

use std::time::Duration;

use crate::http::HeaderMap;

/// No limit of minutes takes longer to be whole again: a longer time is a date or a mistake.
const LONGEST_RESET: Duration = Duration::from_hours(24);

/// What one reply told of the limits per minute: the `x-ratelimit-*` headers of OpenAI and of those that follow it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// Requests.
    pub requests: Window,
    /// Tokens.
    pub tokens: Window,
}

/// One limit, as far as it was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// How many a minute.
    pub limit: Option<u64>,
    /// How many are left.
    pub remaining: Option<u64>,
    /// When all of them will be there again. Servers differ: some mean the end of a fixed window, or the next one.
    pub reset: Option<Duration>,
}

impl Told {
    /// What these headers tell. A value that is no number or no duration is as good as none.
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let number = |name: &str| text(name)?.trim().parse().ok();
        let window = |limit: &str, remaining: &str, reset: &str| Window {
            limit: number(limit),
            remaining: number(remaining),
            reset: text(reset).and_then(duration),
        };
        Self {
            requests: window(
                "x-ratelimit-limit-requests",
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-requests",
            ),
            tokens: window(
                "x-ratelimit-limit-tokens",
                "x-ratelimit-remaining-tokens",
                "x-ratelimit-reset-tokens",
            ),
        }
    }
}

/// A duration as these headers have it: `1s`, `6m0s`, `120ms`, `1h2m3.5s`, or plain seconds.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let seconds = match text.parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => units(text)?,
    };
    Duration::try_from_secs_f64(seconds).ok().filter(|reset| *reset <= LONGEST_RESET)
}

/// Seconds of a chain of numbers with their units.
fn units(mut text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    if text.is_empty() {
        return None;
    }
    while !text.is_empty() {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest) = text.split_at(digits);
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(end);
        let scale = match unit {
            "d" => 86_400.0,
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        text = rest;
    }
    Some(seconds)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::HeaderValue;

    #[test]
    fn durations_are_read_as_servers_write_them() {
        for (text, ms) in [
            ("1s", 1000),
            ("6m0s", 360_000),
            ("120ms", 120),
            ("1h2m3.5s", 3_723_500),
            ("17", 17_000),
            ("0.25", 250),
            (" 2.5s ", 2500),
            ("1d", 86_400_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_none() {
        for text in
            ["", "soon", "-1", "-1s", "1x", "s", "1.2.3s", "inf", "NaN", "1792000000", "99d", "٣s", "1s "]
        {
            let expected = (text == "1s ").then_some(Duration::from_secs(1));
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn headers_that_make_no_sense_are_left_out_and_the_others_kept() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "-1"),
            ("x-ratelimit-reset-requests", "6m0s"),
            ("x-ratelimit-limit-tokens", "many"),
            ("x-ratelimit-remaining-tokens", " 149984 "),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let requests = Window { limit: Some(60), remaining: None, reset: Some(Duration::from_mins(6)) };
        let tokens = Window { remaining: Some(149_984), ..Window::default() };
        assert_eq!(Told::of(&headers), Told { requests, tokens });
    }

    proptest! {
        #[test]
        fn no_text_makes_a_duration_panic(text in "([0-9.]{0,400}|[hmsdnu]|µ|-|e|.){0,6}") {
            duration(&text);
        }
    }
}
