//! What `GET /models` says: who answers, and until when.

use serde_json::Value;

use crate::model;

/// What the endpoint says of its models.
#[derive(Debug, PartialEq, Eq)]
pub enum Listing {
    /// It lists exactly one model: whatever name is asked for, this one answers.
    One(String),
    /// It lists several, or has no such list: the name asked for counts.
    Other,
    /// It answers, but not so that one can tell: the reason.
    Unclear(String),
    /// It cannot be reached: the reason.
    Unreachable(String),
}

/// A list of models, and what it says of the one that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    /// Who answers.
    pub listing: Listing,
    /// The day on which the vendor switches that model off, where the list says so (`shutdown_date`).
    pub shutdown: Option<Day>,
}

impl From<Listing> for Listed {
    fn from(listing: Listing) -> Self {
        Self { listing, shutdown: None }
    }
}

impl Listed {
    /// Reads the reply to `GET /models` for whoever asked for `name`.
    pub(super) fn parse(status: u16, body: &[u8], name: &str) -> Self {
        let list: Value = serde_json::from_slice(body).unwrap_or_default();
        let models: Option<Vec<(&str, &Value)>> = list["data"]
            .as_array()
            .map(|models| models.iter().filter_map(|model| Some((model["id"].as_str()?, model))).collect());
        let shutdown =
            |model: &Value| ["shutdown_date", "shutdown"].iter().find_map(|key| Day::of_value(&model[*key]));
        match (models.as_deref(), status) {
            (Some([(only, model)]), 200) if !only.is_empty() => {
                Self { listing: Listing::One((*only).to_owned()), shutdown: shutdown(model) }
            }
            (Some(models), 200) => Self {
                listing: Listing::Other,
                shutdown: models.iter().find(|(id, _)| *id == name).and_then(|(_, model)| shutdown(model)),
            },
            (_, 404 | 405 | 501) => Listing::Other.into(),
            _ => Listing::Unclear(format!("HTTP {status} to GET /models")).into(),
        }
    }
}

/// A day of the Gregorian calendar, in days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(i64);

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Days ahead of a shutdown from which on a run warns of it.
const AHEAD: i64 = 90;

impl Day {
    /// The day of so many milliseconds since 1970, in UTC.
    pub fn of_millis(millis: i64) -> Self {
        Self(millis.div_euclid(1000 * DAY))
    }

    /// When it begins in UTC, in milliseconds since 1970.
    pub fn millis(self) -> i64 {
        self.0.saturating_mul(1000 * DAY)
    }

    /// `YYYY-MM-DD`, whatever follows it.
    pub fn parse(text: &str) -> Option<Self> {
        let part = |from, to| -> Option<i64> {
            let digits: &str = text.get(from..to)?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
        let dashes = text.get(4..5)? == "-" && text.get(7..8)? == "-";
        // A month after 12 or a day after 31 is no date; that February is shorter matters to no warning.
        if !dashes || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        // Days from civil, with years that begin in March, so that a leap day is the last of its year.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let in_year = (153 * month + 2) / 5 + day - 1;
        let days = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + in_year;
        Some(Self(days - 719_468))
    }

    /// A date as a text, or seconds since 1970 as a number or a text. Zero is no date.
    fn of_value(value: &Value) -> Option<Self> {
        let seconds = match value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => return Self::parse(text).or_else(|| Self::of_seconds(text.parse().ok()?)),
            _ => None,
        };
        Self::of_seconds(seconds?)
    }

    fn of_seconds(seconds: i64) -> Option<Self> {
        // Up to the year 9999: what is larger counts no seconds.
        (1..253_402_300_800).contains(&seconds).then_some(Self(seconds / DAY))
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shifted = self.0 + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (month, ahead) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        write!(f, "{:04}-{month:02}-{day:02}", year + era * 400 + ahead)
    }
}

/// The warning of a model that is switched off soon, or was: by what the endpoint `listed`, else by the model table.
pub fn shutdown_warning(model: &str, listed: Option<Day>, today: Day) -> Option<String> {
    let of_table = || Day::parse(model::find(model)?.shutdown.as_deref()?);
    let (date, source) = match listed {
        Some(date) => (date, "by the endpoint's own list of models".to_owned()),
        None => (of_table()?, format!("by the vendor's page as of {}", model::AS_OF)),
    };
    match date.0 - today.0 {
        left @ ..=0 => Some(format!(
            "{model} WAS SWITCHED OFF on {date}, {} ago, {source}: if it still answers, it may stop at any time; \
             choose another with --model",
            days(-left)
        )),
        left @ 1..=AHEAD => Some(format!("{model} is switched off on {date}, in {}, {source}", days(left))),
        _ => None,
    }
}

fn days(count: i64) -> String {
    if count == 1 { "1 day".to_owned() } else { format!("{count} days") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn listed(models: &Value) -> Listed {
        Listed::parse(200, json!({"data": models}).to_string().as_bytes(), "mine")
    }

    #[test]
    fn one_model_answers_whatever_the_name() {
        let one = listed(&json!([{"id": "tiny", "shutdown_date": "2027-01-14"}]));
        assert_eq!(one, Listed { listing: Listing::One("tiny".into()), shutdown: Day::parse("2027-01-14") });
        assert_eq!(listed(&json!([{"id": "a"}, {"id": "b"}])), Listing::Other.into());
        assert_eq!(listed(&json!([])), Listing::Other.into());
        assert_eq!(Listed::parse(404, b"", "mine"), Listing::Other.into());
        assert!(matches!(Listed::parse(500, b"<html>", "mine").listing, Listing::Unclear(_)));
    }

    #[test]
    fn the_date_is_that_of_the_model_asked_for() {
        let models = |date: Value| json!([{"id": "other", "shutdown_date": "2020-01-01"}, {"id": "mine", "shutdown_date": date}]);
        for date in
            [json!("2027-01-14"), json!("2027-01-14T00:00:00Z"), json!(1_799_884_800), json!("1799884800")]
        {
            assert_eq!(listed(&models(date.clone())).shutdown, Day::parse("2027-01-14"), "{date}");
        }
        for none in [
            json!(null),
            json!(0),
            json!("soon"),
            json!("2027-13-01"),
            json!(-5),
            json!({}),
            json!("2027/01/14"),
        ] {
            assert_eq!(listed(&models(none.clone())).shutdown, None, "{none}");
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(Day::parse("1970-01-01"), Some(Day(0)));
        assert_eq!(Day::parse("2024-02-29"), Some(Day(19_782)));
        assert_eq!(Day::parse("2026-11-22"), Some(Day(20_779)));
        assert_eq!(Day::of_millis(-1), Day(-1));
    }

    #[test]
    fn a_shutdown_is_warned_of_ninety_days_ahead() {
        let warning = |today: &str, listed: Option<&str>| {
            shutdown_warning("gpt-4o", listed.and_then(Day::parse), Day::parse(today).unwrap())
        };
        insta::assert_snapshot!(warning("2026-11-22", None).unwrap(), @"gpt-4o is switched off on 2027-01-14, in 53 days, by the vendor's page as of 2026-11");
        insta::assert_snapshot!(warning("2026-11-22", Some("2026-11-23")).unwrap(), @"gpt-4o is switched off on 2026-11-23, in 1 day, by the endpoint's own list of models");
        insta::assert_snapshot!(warning("2027-02-01", None).unwrap(), @"gpt-4o WAS SWITCHED OFF on 2027-01-14, 18 days ago, by the vendor's page as of 2026-11: if it still answers, it may stop at any time; choose another with --model");
        assert_eq!(warning("2026-10-15", None), None);
        assert_eq!(warning("2026-11-22", Some("2028-01-01")), None);
        assert_eq!(shutdown_warning("unheard-of", None, Day(0)), None);
    }

    proptest! {
        #[test]
        fn a_day_is_read_as_it_is_written(days in 0_i64..2_900_000) {
            prop_assert_eq!(Day::parse(&Day(days).to_string()), Some(Day(days)));
        }

        #[test]
        fn no_list_panics(body in ".*", status in 0_u16..600) {
            Listed::parse(status, body.as_bytes(), "mine");
        }
    }
}
