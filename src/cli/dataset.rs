//! `classified dataset`: what a dataset has, without reading it.

use clap::Args;
use serde_json::{Map, Value, json};

use super::exit::Exit;
use super::settings::OutputArgs;
use super::source::SourceArgs;
use crate::console::{self, tables};
use crate::dataset::{self, Description, Request};

const AFTER_HELP: &str = "\
Examples:
  classified dataset data/textbooks.parquet
  classified dataset vikp/textbooks
  classified dataset HuggingFaceFW/fineweb --config sample-10BT";

/// Show a dataset's configs, splits, sizes and columns, and a few of its rows, without reading it all
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct DatasetArgs {
    /// A file, a folder, or a name at the Hugging Face Hub
    dataset: String,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Looks at the dataset and shows what it has.
pub(super) async fn run(args: DatasetArgs) -> anyhow::Result<Exit> {
    let console = args.output.console();
    let request = args.source.request(Vec::new(), console)?;
    let found = dataset::describe(Request {
        name: args.dataset,
        // A look at a few rows is no reason to download all of them.
        access: dataset::Access::Stream,
        ..request
    })
    .await?;
    console.result(&text(&found))?;
    console.json(&json(&found))?;
    Ok(Exit::Done)
}

fn text(found: &Description) -> String {
    let revision = found.revision.as_ref().map_or(String::new(), |revision| format!(" at {revision}"));
    let mut parts = vec![format!("{}{revision}", console::plain(&found.name))];
    if !found.configs.is_empty() {
        let rows = found.configs.iter().flat_map(|config| {
            let default = if config.is_default { " (default)" } else { "" };
            let name = format!("{}{default}", config.name);
            let unreadable = config.splits.is_empty().then(|| {
                vec![name.clone(), "–".into(), config.format.clone(), "–".into(), "–".into(), "–".into()]
            });
            let splits = config.splits.iter().map(move |split| {
                let claimed = split.claimed.map_or("–".to_owned(), |rows| rows.to_string());
                let (files, bytes) = (split.files.to_string(), split.bytes.to_string());
                vec![name.clone(), split.name.clone(), config.format.clone(), files, bytes, claimed]
            });
            unreadable.into_iter().chain(splits).collect::<Vec<_>>()
        });
        parts.push(tables::list(&["Config", "Split", "Format", "Files", "Bytes", "Rows by its card"], rows));
    }
    let of = found
        .shown
        .as_ref()
        .map_or(String::new(), |(config, split)| format!("Config {config}, split {split}: "));
    let rows = match found.rows {
        Some(rows) => format!("{rows} rows"),
        None => "rows are not counted, which would take reading".to_owned(),
    };
    parts.push(console::plain(&format!("{of}{rows}")));
    let columns = found.columns.iter().map(|column| vec![column.name.clone(), column.kind.clone()]);
    parts.push(tables::list(&["Column", "Type"], columns));
    for row in &found.examples {
        parts.push(match row {
            Ok(record) => {
                let fields = found.columns.iter().zip(&record.fields);
                let lines = fields.map(|(column, value)| format!("  {}: {}", column.name, short(value)));
                console::plain(&format!("{}\n{}", record.id, lines.collect::<Vec<_>>().join("\n")))
            }
            Err(unreadable) => console::plain(&format!("{}: {}", unreadable.id, unreadable.detail)),
        });
    }
    parts.join("\n\n")
}

/// The beginning of a value, on one line.
fn short(value: &Value) -> String {
    const SHOWN: usize = 80;
    let text = crate::record::text(value);
    let line: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() { format!("{line}…") } else { line }
}

fn json(found: &Description) -> Value {
    let configs = found.configs.iter().map(|config| {
        let splits = config.splits.iter().map(|split| {
            json!({"name": split.name, "files": split.files, "bytes": split.bytes, "rows_by_card": split.claimed})
        });
        json!({
            "name": config.name,
            "default": config.is_default,
            "format": config.format,
            "splits": splits.collect::<Vec<_>>(),
        })
    });
    let columns = found.columns.iter().map(|column| json!({"name": column.name, "type": column.kind}));
    let examples = found.examples.iter().map(|row| match row {
        Ok(record) => {
            let fields = found.columns.iter().zip(&record.fields);
            let fields: Map<_, _> =
                fields.map(|(column, value)| (column.name.clone(), value.clone())).collect();
            json!({"id": record.id, "fields": fields})
        }
        Err(unreadable) => json!({"id": unreadable.id, "failure": unreadable.detail}),
    });
    json!({
        "v": 1,
        "command": "dataset",
        "dataset": found.name,
        "revision": found.revision,
        "configs": configs.collect::<Vec<_>>(),
        "shown": found.shown.as_ref().map(|(config, split)| json!({"config": config, "split": split})),
        "rows": found.rows,
        "columns": columns.collect::<Vec<_>>(),
        "examples": examples.collect::<Vec<_>>(),
    })
}
