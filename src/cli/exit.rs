//! Exit codes: one home, one sentence each. The README's table is compared with this one by a test.

use crate::{batch, dataset, endpoint, export, filter, lens, llama, rate, store};

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done.
    Done,
    /// It cannot go on: a broken lens, an unreadable file, no database, a refused key.
    CannotGoOn,
    /// The command cannot be carried out as given: a wrong flag, an unknown dataset, column, lens or split, no key.
    Usage,
    /// Finished, but more rows failed than `--fail-above` allows.
    TooManyFailed,
    /// Stopped at the budget; the same command goes on from there.
    Budget,
    /// An alert that was asked for.
    Alert,
    /// Nothing was kept.
    NothingKept,
    /// Another run holds the lock, questions wait in batches, or the endpoint of batches cannot be asked now: try again later.
    TryAgain,
    /// Interrupted (Ctrl-C); the same command goes on from there.
    Interrupted,
    /// Terminated (SIGTERM, SIGHUP); the same command goes on from there.
    Terminated,
}

impl Exit {
    /// Every code, as the README lists them.
    pub const ALL: [Self; 10] = [
        Self::Done,
        Self::CannotGoOn,
        Self::Usage,
        Self::TooManyFailed,
        Self::Budget,
        Self::Alert,
        Self::NothingKept,
        Self::TryAgain,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::CannotGoOn => 1,
            Self::Usage => 2,
            Self::TooManyFailed => 3,
            Self::Budget => 4,
            Self::Alert => 5,
            Self::NothingKept => 6,
            Self::TryAgain => 75,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// What an error that ended the program means for its exit code.
    pub fn of(error: &anyhow::Error) -> Self {
        let setting = matches!(error.downcast_ref::<endpoint::Error>(), Some(endpoint::Error::Usage(_)));
        let server = error.downcast_ref::<llama::Error>().is_some_and(llama::Error::is_usage);
        if setting || server || error.downcast_ref::<UsageError>().is_some() {
            return Self::Usage;
        }
        match error.downcast_ref::<filter::Error>() {
            Some(filter::Error::Unrated { .. }) => return Self::TooManyFailed,
            Some(error) if error.is_usage() => return Self::Usage,
            _ => {}
        }
        let rate = error.downcast_ref::<rate::Error>().or(match error.downcast_ref::<batch::Error>() {
            Some(error) if error.is_usage() => return Self::Usage,
            Some(batch::Error::Trouble(_)) => return Self::TryAgain,
            Some(batch::Error::Rate(error)) => Some(error),
            _ => None,
        });
        let dataset = error.downcast_ref::<dataset::Error>().or(match rate {
            Some(rate::Error::Dataset(error)) => Some(error),
            _ => None,
        });
        match (dataset, error.downcast_ref::<lens::Error>(), error.downcast_ref::<export::Error>()) {
            (Some(error), ..) if error.is_usage() => Self::Usage,
            (
                _,
                Some(lens::Error::Unknown { .. } | lens::Error::Name { .. } | lens::Error::Exists { .. }),
                _,
            ) => Self::Usage,
            (.., Some(export::Error::Busy { .. })) => Self::TryAgain,
            (.., Some(error)) if error.is_usage() => Self::Usage,
            _ if matches!(error.downcast_ref::<store::Error>(), Some(store::Error::Url(_))) => Self::Usage,
            _ => Self::CannotGoOn,
        }
    }
}

/// The user has to change the command or a setting.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// A [`UsageError`] as the desk's error.
pub fn usage(text: impl Into<String>) -> anyhow::Error {
    UsageError(text.into()).into()
}
