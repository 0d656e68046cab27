//! `classified lens`: list, show, make, check and try lenses.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::json;

use super::exit::{Exit, usage};
use super::settings::{LensArgs, OutputArgs};
use crate::console::tables;
use crate::lens::{self, Lens, Origin, Problem, Severity};

/// List, show, make, check and try lenses
#[derive(Debug, Subcommand)]
pub(super) enum LensCommand {
    List(ListArgs),
    Show(ShowArgs),
    New(NewArgs),
    Check(CheckArgs),
    Render(RenderArgs),
}

/// List the lenses that can be used
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    lens: LensArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Show what a lens asks and what it wants as an answer
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The lens
    name: String,
    #[command(flatten)]
    lens: LensArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Make the folder of a new lens, ready to be changed
#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// Its name: lower-case letters, digits and underscores
    name: String,
    #[command(flatten)]
    lens: LensArgs,
}

/// Check a lens, or all of them, for what would go wrong or could be better
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The lens [default: all]
    name: Option<String>,
    #[command(flatten)]
    lens: LensArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Render a lens's prompt for values of your own
#[derive(Debug, Args)]
pub(super) struct RenderArgs {
    /// The lens
    name: String,
    /// A field's value; `@FILE` takes it from a file
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    lens: LensArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs a subcommand.
pub(super) fn run(command: LensCommand) -> anyhow::Result<Exit> {
    match command {
        LensCommand::List(args) => list(&args),
        LensCommand::Show(args) => show(&args),
        LensCommand::New(args) => new(&args),
        LensCommand::Check(args) => check(&args),
        LensCommand::Render(args) => render(&args),
    }
}

fn open(name: &str, args: &LensArgs) -> anyhow::Result<Lens> {
    Ok(lens::open(name, std::slice::from_ref(&args.lens_dir))?)
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::BuiltIn => "built in".to_owned(),
        Origin::Folder(path) => path.display().to_string(),
        Origin::Kept => "kept in the store".to_owned(),
    }
}

fn list(args: &ListArgs) -> anyhow::Result<Exit> {
    let listed = lens::list(std::slice::from_ref(&args.lens.lens_dir))?;
    let console = args.output.console();
    let mut rows = Vec::new();
    let mut documents = Vec::new();
    for each in &listed {
        let (fields, scores, about) = match &each.lens {
            Ok(lens) => {
                (lens.fields.join(", "), lens.scores.join(", "), lens.description.clone().unwrap_or_default())
            }
            Err(error) => (String::new(), String::new(), format!("cannot be used: {error}")),
        };
        documents.push(json!({"name": each.name, "origin": origin(&each.origin), "usable": each.lens.is_ok(),
            "fields": each.lens.as_ref().map(|lens| lens.fields.clone()).unwrap_or_default(),
            "scores": each.lens.as_ref().map(|lens| lens.scores.clone()).unwrap_or_default(), "description": about}));
        rows.push(vec![each.name.clone(), fields, scores, origin(&each.origin), about]);
    }
    console.json(&json!({"v": 1, "command": "lens list", "lenses": documents}))?;
    console.result(&tables::list(&["Lens", "Fields", "Scores", "From", "About"], rows))?;
    Ok(Exit::Done)
}

fn show(args: &ShowArgs) -> anyhow::Result<Exit> {
    let lens = open(&args.name, &args.lens)?;
    let console = args.output.console();
    console.json(
        &json!({"v": 1, "command": "lens show", "name": lens.name, "origin": origin(&lens.origin),
        "description": lens.description, "version": lens.version, "type": lens.kind, "fields": lens.fields,
        "scores": lens.scores, "overall": lens.scores[lens.overall], "rationales": lens.rationales,
        "scale": [lens.scale.low, lens.scale.high], "heuristic": lens.heuristic, "files": lens.files}),
    )?;
    let mut text = format!("{} ({})\n", lens.name, origin(&lens.origin));
    if let Some(description) = &lens.description {
        let _ = writeln!(text, "{description}");
    }
    let _ = writeln!(text, "fields: {}", lens.fields.join(", "));
    let _ = writeln!(
        text,
        "scores: {} (overall: {}), {}",
        lens.scores.join(", "),
        lens.scores[lens.overall],
        lens.scale
    );
    let _ = writeln!(text, "heuristic: {}", lens.heuristic.as_deref().unwrap_or("none"));
    for (file, source) in &lens.files {
        let _ = write!(text, "\n--- {file}\n{}\n", source.trim_end());
    }
    console.result(&crate::console::plain(text.trim_end()))?;
    Ok(Exit::Done)
}

fn new(args: &NewArgs) -> anyhow::Result<Exit> {
    let folder = lens::new_folder(&args.lens.lens_dir, &args.name)?;
    let console = super::plain_console();
    if lens::open(&args.name, &[]).is_ok() {
        console.warn(&format!("from now on it is used instead of the built-in lens {}", args.name));
    }
    console.result(&crate::console::plain(&format!(
        "made {}: change its four files, then run `classified lens check {}`",
        folder.display(),
        args.name
    )))?;
    Ok(Exit::Done)
}

fn check(args: &CheckArgs) -> anyhow::Result<Exit> {
    let console = args.output.console();
    let names = match &args.name {
        Some(name) => vec![name.clone()],
        None => {
            lens::list(std::slice::from_ref(&args.lens.lens_dir))?.into_iter().map(|each| each.name).collect()
        }
    };
    let mut text = String::new();
    let mut documents = Vec::new();
    let mut good = true;
    for name in names {
        let (problems, broken) = match open(&name, &args.lens) {
            Ok(lens) => (lens::check(&lens), None),
            // Asked for by name, an unknown lens is the user's mistake and not a result of the check.
            Err(error) if args.name.is_some() && Exit::of(&error) == Exit::Usage => return Err(error),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count()
            + usize::from(broken.is_some());
        good &= errors == 0;
        let _ = writeln!(
            text,
            "{name}: {}",
            if errors == 0 { "good".to_owned() } else { format!("{errors} to mend") }
        );
        if let Some(error) = &broken {
            let _ = writeln!(text, "  error: {error}");
        }
        for problem in &problems {
            let _ = writeln!(text, "  {}: {problem}", word(problem.severity));
        }
        let document: Vec<_> = problems.iter().map(document).collect();
        documents.push(json!({"name": name, "good": errors == 0, "broken": broken, "problems": document}));
    }
    console.json(&json!({"v": 1, "command": "lens check", "lenses": documents}))?;
    console.result(&crate::console::plain(text.trim_end()))?;
    Ok(if good { Exit::Done } else { Exit::CannotGoOn })
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Advice => "advice",
    }
}

fn document(problem: &Problem) -> serde_json::Value {
    json!({"severity": word(problem.severity), "file": problem.file, "line": problem.line, "text": problem.text})
}

fn render(args: &RenderArgs) -> anyhow::Result<Exit> {
    let lens = open(&args.name, &args.lens)?;
    let mut values: Vec<Option<String>> = vec![None; lens.fields.len()];
    for assignment in &args.set {
        let (field, value) = assignment
            .split_once('=')
            .ok_or_else(|| usage(format!("--set `{assignment}` is not FIELD=VALUE")))?;
        let at = lens.fields.iter().position(|known| known == field).ok_or_else(|| {
            usage(format!("lens {} has no field `{field}`; it reads {}", lens.name, lens.fields.join(", ")))
        })?;
        values[at] = Some(match value.strip_prefix('@') {
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                usage(format!("cannot read {path} as text: {error}; `@` takes a value from a file"))
            })?,
            None => value.to_owned(),
        });
    }
    let missing: Vec<&str> = lens
        .fields
        .iter()
        .zip(&values)
        .filter(|(_, value)| value.is_none())
        .map(|(field, _)| field.as_str())
        .collect();
    if !missing.is_empty() {
        return Err(usage(format!("give a value for every field: --set {}=…", missing.join("=… --set "))));
    }
    let values: Vec<&str> = values.iter().flatten().map(String::as_str).collect();
    let messages = lens.render(&values)?;
    let console = args.output.console();
    console.json(
        &json!({"v": 1, "command": "lens render", "system": messages.system, "prompt": messages.prompt}),
    )?;
    console.result(&crate::console::plain(&format!(
        "--- system\n{}\n--- prompt\n{}",
        messages.system, messages.prompt
    )))?;
    Ok(Exit::Done)
}
