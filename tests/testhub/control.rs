//! `/__hub__/…`: what scripts in other processes do with the hub. Not logged, not limited.
//!
//! | request | what it does |
//! |---|---|
//! | `POST /__hub__/faults` `[…]` | replaces the faults |
//! | `GET`, `DELETE /__hub__/log` | the log; forgets it |
//! | `POST /__hub__/scenario` | forgets faults and what was spent of the budgets |
//! | `POST /__hub__/options` `{"anon_missing": "faithful", "page_size": 10, "sig_ttl": 2, "small_redirect": false}` | changes the behaviour |
//! | `GET /__hub__/repos` | the commit of each revision of each repository |

use hyper::{Method, http::request::Parts};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Config, Fault, Missing, SmallFiles, reply::Reply, state::State};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AnonMissing {
    Coded,
    Faithful,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    anon_missing: Option<AnonMissing>,
    page_size: Option<usize>,
    sig_ttl: Option<f64>,
    small_redirect: Option<bool>,
}

impl Changes {
    fn apply(self, config: &mut Config) {
        if let Some(missing) = self.anon_missing {
            config.missing = match missing {
                AnonMissing::Coded => Missing::Coded,
                AnonMissing::Faithful => Missing::Faithful,
            };
        }
        config.page_size = self.page_size.unwrap_or(config.page_size);
        config.sig_ttl = self.sig_ttl.unwrap_or(config.sig_ttl);
        if let Some(redirect) = self.small_redirect {
            config.small_files = if redirect { SmallFiles::Redirected } else { SmallFiles::Direct };
        }
    }
}

pub(super) fn answer(state: &State, head: &Parts, body: &[u8]) -> Reply {
    let ok = json!({"ok": true});
    let result = match (&head.method, head.uri.path()) {
        (&Method::GET, "/__hub__/log") => serde_json::to_value(state.journal().log()),
        (&Method::DELETE, "/__hub__/log") => {
            state.journal().clear();
            Ok(ok)
        }
        (&Method::POST, "/__hub__/scenario") => {
            state.faults().clear();
            state.reset_quotas();
            Ok(ok)
        }
        (&Method::POST, "/__hub__/faults") => serde_json::from_slice(body).map(|faults: Vec<Fault>| {
            *state.faults() = faults;
            ok
        }),
        (&Method::POST, "/__hub__/options") => serde_json::from_slice(body).map(|changes: Changes| {
            changes.apply(&mut state.config());
            ok
        }),
        (&Method::GET, "/__hub__/repos") => serde_json::to_value(state.index().shas()),
        _ => return Reply::json(404, &json!({"error": "no such control"})),
    };
    match result {
        Ok(value) => Reply::json(200, &value),
        Err(error) => Reply::json(400, &Value::String(error.to_string())),
    }
}
