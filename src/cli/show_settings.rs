//! `classified settings`: each setting with its value and where that comes from.

use clap::{ArgMatches, Args};
use serde_json::json;

use super::exit::Exit;
use super::settings::{self, Loaded, Settings, TIMEOUT, origin, variable};
use crate::console::tables;
use crate::endpoint::{self, HOSTED_URL};

/// Show every setting with its value and its origin; secrets are masked
#[derive(Debug, Args)]
pub(super) struct SettingsArgs {
    #[command(flatten)]
    settings: Settings,
}

/// Shows the settings.
pub(super) fn run(args: &SettingsArgs, matches: &ArgMatches, loaded: &Loaded) -> anyhow::Result<Exit> {
    let console = args.settings.output.console();
    let mut rows = Vec::new();
    let given = matches.subcommand().map(|(_, given)| given);
    for argument in Settings::augment_args(clap::Command::new("settings")).get_arguments() {
        let (Some(name), Some(given)) = (argument.get_env().and_then(|name| name.to_str()), given) else {
            continue;
        };
        let id = argument.get_id().as_str();
        let value = given.get_raw(id).map(|values| {
            values.map(|value| value.to_string_lossy().into_owned()).collect::<Vec<_>>().join(",")
        });
        let value = match (name, value) {
            ("OPENAI_BASE_URL", None) => HOSTED_URL.to_owned(),
            ("OPENAI_BASE_URL", Some(url)) if url.trim().is_empty() => HOSTED_URL.to_owned(),
            ("DATABASE_URL", Some(url)) if url.is_empty() => args.settings.store.url()?,
            ("OPENAI_BASE_URL", Some(url)) => endpoint::shown(&url),
            ("DATABASE_URL", None) => args.settings.store.url()?,
            ("DATABASE_URL", Some(url)) if url.contains("://") => endpoint::shown(&url),
            // It may hold what a gateway takes for a key.
            ("CLASSIFIED_EXTRA_BODY", Some(_)) => "(set, not shown)".to_owned(),
            ("OPENAI_TIMEOUT", None) => TIMEOUT.to_string(),
            ("CLASSIFIED_WORKERS", None) => "automatic".to_owned(),
            (_, Some(value)) => value,
            (_, None) => "–".to_owned(),
        };
        let flag = argument.get_long().map_or(String::new(), |long| format!("--{long}"));
        rows.push(vec![
            name.to_owned(),
            flag,
            value,
            origin(given.value_source(id), Some(name), loaded).to_owned(),
        ]);
    }
    for name in ["OPENAI_API_KEY", "OPENAI_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"] {
        let value = variable(name);
        let source = value.as_ref().map(|_| clap::parser::ValueSource::EnvVariable);
        let shown = match value {
            Some(_) if name.ends_with("KEY") => "(set, not shown)".to_owned(),
            Some(value) => value,
            None => "–".to_owned(),
        };
        rows.push(vec![name.to_owned(), String::new(), shown, origin(source, Some(name), loaded).to_owned()]);
    }
    let hub = settings::hub()?;
    let token = hub.token.as_ref();
    let hub = [
        ("HF_ENDPOINT", hub.endpoint.clone()),
        ("HF_TOKEN", token.map_or("–".to_owned(), |token| format!("(set by {}, not shown)", token.origin))),
        ("HF_HUB_CACHE", hub.cache.display().to_string()),
        ("HF_HUB_OFFLINE", hub.offline.as_ref().map_or("no".to_owned(), |name| format!("yes, by {name}"))),
    ];
    for (name, value) in hub {
        let source = variable(name).map(|_| clap::parser::ValueSource::EnvVariable);
        rows.push(vec![name.to_owned(), String::new(), value, origin(source, Some(name), loaded).to_owned()]);
    }
    let document: Vec<_> = rows
        .iter()
        .map(|row| json!({"name": row[0], "flag": row[1], "value": row[2], "origin": row[3]}))
        .collect();
    console.json(&json!({"v": 1, "command": "settings", "settings": document}))?;
    console.result(&tables::list(&["Setting", "Flag", "Value", "From"], rows))?;
    Ok(Exit::Done)
}
