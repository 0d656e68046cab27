//! Lenses: what is asked of a row, and what its answer must look like.
//!
//! A lens is a folder with `config.json`, `functions.json`, `system.jinja` and `prompt.jinja`. Five are part of
//! the program; a folder of the user's wins over a built-in lens of the same name. A folder of the original
//! Python tool works as it is.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

mod builtin;
mod check;
mod config;
mod error;
mod folder;
mod function;
mod scaffold;
mod template;
mod verdict;

pub use check::{Problem, Severity, check};
pub use error::Error;
pub use function::{Function, Invalid, Scored};
pub use scaffold::new_folder;
pub use template::Messages;
pub use verdict::{Cut, Cuts, Scale, Verdict};

use builtin::BUILT_IN;
use config::{CONFIG, Config, Version, nearest};
use error::{Fault, NO_FILE};
use folder::Folder;
use function::{FUNCTION_FILES, Schema};
use template::{PROMPT, SYSTEM, Templates};

/// What a name of a lens looks like.
const NAME: &str = "expected the name of a folder, without a path";

/// Where a lens comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Part of the program.
    BuiltIn,
    /// A folder of the user's, by the path under which it was found.
    Folder(PathBuf),
    /// Texts that were kept of it: [`Lens::from_files`].
    Kept,
}

/// A lens, ready to render rows and to read answers; shared between workers by reference.
#[derive(Debug)]
#[non_exhaustive]
pub struct Lens {
    /// The name of its folder.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// One sentence on what it rates, from `config.json`.
    pub description: Option<String>,
    /// The author's own version of the lens. It has nothing to do with the cache's `--version`.
    pub version: Option<String>,
    /// `type` in `config.json`: pretrain or instruct.
    pub kind: String,
    /// `input_fields`: what the columns are mapped to, by position. At least one.
    pub fields: Vec<String>,
    /// `labels` in `config.json`, for lenses that sort instead of score; empty if it has none.
    pub labels: Vec<String>,
    /// The function that the rater calls.
    pub function: Function,
    /// Score fields: the required numeric properties, in the order of `required`. At least one.
    pub scores: Vec<String>,
    /// Rationale fields: the required text properties, in the order of `required`.
    pub rationales: Vec<String>,
    /// Index into `scores` of the field `overall`, or of the last one if none has this name.
    pub overall: usize,
    /// The range of the overall score: from `config.json`, else from its schema, else 1 to 3.
    pub scale: Scale,
    /// Where the scale is cut into verdicts: from `config.json`; on the scale 1 to 3 there is a default.
    pub cuts: Option<Cuts>,
    /// For which kind of text the heuristic may stand in: `prose`, `code` or `instruct`.
    pub heuristic: Option<String>,
    /// The files it was made of, with their texts, by name: the four, and what the templates include.
    pub files: BTreeMap<String, String>,
    /// What has no effect or may not be meant. In [`check`] these are errors.
    pub warnings: Vec<Problem>,
    schema: Schema,
    templates: Templates,
}

/// A lens that [`list`] found; one that cannot be opened is listed with the reason.
#[derive(Debug)]
pub struct Listed {
    /// The name of its folder.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// The lens, or why it cannot be used.
    pub lens: Result<Lens, Error>,
}

/// Opens a lens by its name: from the first of the folders that has it, else a built-in one.
///
/// A folder that does not exist is passed over. A lens that is broken is an error, even if a later folder or
/// the program has one of the same name.
pub fn open(name: &str, dirs: &[PathBuf]) -> Result<Lens, Error> {
    if !is_name(name) {
        return Err(Error::Name { name: name.to_owned(), expected: NAME });
    }
    if let Some(path) = dirs.iter().map(|dir| dir.join(name)).find(|path| holds_a_lens(path)) {
        let folder = Folder::on_disk(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        return Lens::read(name, &Origin::Folder(path), &folder);
    }
    match BUILT_IN.iter().find(|(known, _)| *known == name) {
        Some((_, files)) => Lens::read(name, &Origin::BuiltIn, &Folder::BuiltIn(files)),
        None => Err(unknown(name, dirs)?),
    }
}

/// All lenses that [`open`] can find, by name. A folder that does not exist is passed over.
pub fn list(dirs: &[PathBuf]) -> Result<Vec<Listed>, Error> {
    let names = names(dirs)?;
    Ok(names.into_iter().map(|(name, origin)| Listed { lens: open(&name, dirs), name, origin }).collect())
}

impl Lens {
    /// A lens as it was when these were its [`Lens::files`]: it renders the same messages and reads the same answers, whatever
    /// its folder holds by now.
    ///
    /// An error where the texts are no whole lens, or one that only another version of the program reads.
    pub fn from_files(name: &str, files: &BTreeMap<String, String>) -> Result<Self, Error> {
        Self::read(name, &Origin::Kept, &Folder::Kept(Arc::new(files.clone())))
    }

    fn read(name: &str, origin: &Origin, folder: &Folder) -> Result<Self, Error> {
        Self::assemble(name, origin, folder).map_err(|fault| Error::File {
            lens: name.to_owned(),
            file: origin.path_of(&fault.file),
            line: fault.line,
            problem: fault.problem,
        })
    }

    fn assemble(name: &str, origin: &Origin, folder: &Folder) -> Result<Self, Fault> {
        let mut warnings = Vec::new();
        let config_text = required(folder, CONFIG)?;
        let (config, unknown) = Config::parse(&config_text)?;
        warnings.extend(unknown.into_iter().map(|text| Problem::error(CONFIG, text)));

        let (file, text) = function_file(folder, &mut warnings)?;
        let schema = Schema::parse(file, &text)?;
        let overall = schema.scores.iter().position(|score| score == "overall");
        let overall = overall.unwrap_or(schema.scores.len() - 1);
        let said = schema.range(&schema.scores[overall]).filter(|said| said.low < said.high);
        let scale = config.scale.or(said).unwrap_or(Scale::DEFAULT);
        if let Some(said) = said.filter(|said| *said != scale) {
            let text =
                format!("\"scale\" is {scale}, but `{}` in {file} is from {said}", schema.scores[overall]);
            warnings.push(Problem::error(CONFIG, text));
        }
        let cuts = config.cuts.or((scale == Scale::DEFAULT).then_some(Cuts::DEFAULT));
        if let Some(problem) = cuts.and_then(|cuts| cuts.problem(scale)) {
            return Err(Fault::new(CONFIG, problem));
        }

        let templates = Templates::compile(folder, &config.input_fields)?;
        templates.try_out()?;
        let mut files: BTreeMap<String, String> = templates.sources().into_iter().collect();
        files.insert(CONFIG.to_owned(), config_text);
        files.insert(file.to_owned(), text);
        Ok(Self {
            name: name.to_owned(),
            origin: origin.clone(),
            description: config.description,
            version: config.version.map(Version::into_text),
            kind: config.kind,
            fields: config.input_fields,
            labels: config.labels,
            function: schema.function.clone(),
            scores: schema.scores.clone(),
            rationales: schema.rationales.clone(),
            overall,
            scale,
            cuts,
            heuristic: config.heuristic,
            files,
            warnings,
            schema,
            templates,
        })
    }

    /// The two messages that ask about one row: a value per field, in the order of `fields`.
    ///
    /// [`open`] has rendered a made-up row already: an error here depends on these values.
    pub fn render(&self, values: &[&str]) -> Result<Messages, Error> {
        if values.len() != self.fields.len() {
            return Err(Error::Fields {
                lens: self.name.clone(),
                fields: self.fields.clone(),
                got: values.len(),
            });
        }
        self.templates.render(values).map_err(|fault| Error::Render {
            lens: self.name.clone(),
            file: self.origin.path_of(&fault.file),
            line: fault.line,
            problem: fault.problem,
        })
    }

    /// The system message: the same for every row.
    pub fn system(&self) -> &Arc<str> {
        &self.templates.system
    }

    /// The range of a score: of the overall one [`Lens::scale`], of another its schema's, else the same.
    pub fn scale_of(&self, score: &str) -> Scale {
        let is_overall = self.scores.get(self.overall).is_some_and(|overall| overall == score);
        let said = self.schema.range(score).filter(|said| !is_overall && said.low < said.high);
        said.unwrap_or(self.scale)
    }

    /// The values that a score may have, ascending and evenly spaced; none where they are not, or any number may be given.
    pub fn steps(&self, score: &str) -> Vec<f64> {
        self.schema.steps(score)
    }

    /// Reads the arguments with which the rater called the function: validated against its schema, and a score
    /// whose schema gives no range must lie on `scale`.
    pub fn parse(&self, arguments: &Value) -> Result<Scored, Invalid> {
        self.schema.read(arguments, self.scale)
    }
}

impl Origin {
    /// How a file of the lens is named in messages.
    fn path_of(&self, file: &str) -> String {
        match self {
            Self::BuiltIn | Self::Kept => file.to_owned(),
            Self::Folder(path) => path.join(file).display().to_string(),
        }
    }
}

fn required(folder: &Folder, file: &str) -> Result<String, Fault> {
    match folder.read(file) {
        Ok(Some(text)) => Ok(text.into_owned()),
        Ok(None) => Err(Fault::new(file, NO_FILE)),
        Err(problem) => Err(Fault::new(file, problem)),
    }
}

fn function_file(folder: &Folder, warnings: &mut Vec<Problem>) -> Result<(&'static str, String), Fault> {
    let [usual, original] = FUNCTION_FILES;
    match (required(folder, usual), required(folder, original)) {
        (Ok(text), other) => {
            if other.is_ok() {
                warnings.push(Problem::error(original, format!("not read, because there is a {usual} too")));
            }
            Ok((usual, text))
        }
        (Err(_), Ok(text)) if folder.read(usual).is_ok() => Ok((original, text)),
        (Err(fault), _) => Err(fault),
    }
}

/// A name that is one plain part of a path and is not hidden.
fn is_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    plain && !name.starts_with('.') && !name.contains(['\\', ',']) && !name.contains(char::is_control)
}

/// Whether a folder means to be a lens: it holds at least one of a lens's files.
fn holds_a_lens(path: &Path) -> bool {
    // One that may not be read counts, so that it is an error and not a silent built-in lens.
    let has = |file: &&str| path.join(file).try_exists().unwrap_or(true);
    path.is_dir() && [CONFIG, SYSTEM, PROMPT].iter().chain(&FUNCTION_FILES).any(has)
}

/// Every name that can be opened, with where it will be found.
fn names(dirs: &[PathBuf]) -> Result<BTreeMap<String, Origin>, Error> {
    let mut names: BTreeMap<String, Origin> =
        BUILT_IN.iter().map(|(name, _)| ((*name).to_owned(), Origin::BuiltIn)).collect();
    for dir in dirs.iter().rev() {
        let io_error = |source| Error::Io { path: dir.clone(), source };
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io_error(error)),
        };
        for entry in entries {
            let entry = entry.map_err(io_error)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = dir.join(&name);
            if is_name(&name) && holds_a_lens(&path) {
                names.insert(name, Origin::Folder(path));
            }
        }
    }
    Ok(names)
}

fn unknown(name: &str, dirs: &[PathBuf]) -> Result<Error, Error> {
    let exist: Vec<String> = names(dirs)?.into_keys().collect();
    let nearest = nearest(name, exist.iter().map(String::as_str)).map(str::to_owned);
    let missing = dirs.iter().filter(|dir| !dir.exists()).cloned().collect();
    Ok(Error::Unknown { name: name.to_owned(), nearest, exist, missing })
}

#[cfg(test)]
mod tests;
