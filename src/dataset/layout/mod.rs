//! From names of files and a card to configs, splits and formats, as the `datasets` library 5.2 does.
//!
//! Nothing here touches a disk or the network: the listing and the card's text are given. Differences to the library,
//! each on purpose: the format is found for each config, not once for all; a config that is not asked for cannot
//! fail another; a file that several patterns or splits name is taken once; a pattern cannot leave the dataset.

use crate::dataset::error::{listed, nearest, plain};
use card::Declared;
use format::named;
use glob::Pattern;
use listing::Listing;
use serde_json::{Map, Value};
use std::collections::HashSet;

pub(in crate::dataset) use card::{Card, card};
pub use fault::Fault;
pub(in crate::dataset) use format::{Compression, Format, Module, format_of};
pub(in crate::dataset) use infer::Patterns;

mod card;
mod fault;
mod format;
mod glob;
mod infer;
mod listing;

/// A dataset's files as its card, or their names, divide them.
#[derive(Debug)]
pub(in crate::dataset) struct Layout<'l> {
    card: &'l Card,
    files: &'l [String],
    sorted: Vec<usize>,
}

/// The name of the only config of a dataset whose card declares none.
const ONLY: &str = "default";

/// Names in a message.
const SHOWN: usize = 20;

/// Divides files, which are paths below the dataset's folder with `/` between names.
pub(in crate::dataset) fn layout<'l>(card: &'l Card, files: &'l [String]) -> Layout<'l> {
    Layout { card, files, sorted: listing::sorted(files) }
}

/// A config: its splits, and how their files are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dataset) struct Config {
    /// Its name.
    pub(in crate::dataset) name: String,
    /// Its splits, in the order of the card, or `train`, `validation`, `test` and then others.
    pub(in crate::dataset) splits: Vec<Split>,
    /// The kind of its files.
    pub(in crate::dataset) module: Module,
    /// What the card tells the reader of its files.
    pub(in crate::dataset) parameters: Parameters,
}

/// A part of a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dataset) struct Split {
    /// Its name.
    pub(in crate::dataset) name: String,
    /// Its files, as indices of the listing, in the order in which they are read.
    pub(in crate::dataset) files: Vec<usize>,
}

/// Parameters of a config, named as the card names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::dataset) struct Parameters {
    /// `sep` or `delimiter`: what stands between the cells of CSV, whatever the suffix.
    pub(in crate::dataset) separator: Option<u8>,
    /// `field`: the key of a JSON file under which its rows are.
    pub(in crate::dataset) field: Option<String>,
    /// `sample_by`: what a row of a text file is.
    pub(in crate::dataset) sample_by: Unit,
    /// Keys that are not followed, for a warning.
    pub(in crate::dataset) unknown: Vec<String>,
}

/// What a row of a text file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::dataset) enum Unit {
    /// A line.
    #[default]
    Line,
    /// What stands between blank lines.
    Paragraph,
    /// The whole file.
    Document,
}

/// Whether a file of this name can be data of the dataset: neither hidden nor about the dataset.
pub(in crate::dataset) fn is_data(path: &str) -> bool {
    format_of(path).is_ok() && listing::is_data(path)
}

impl Layout<'_> {
    /// The names of the configs.
    pub(in crate::dataset) fn configs(&self) -> Vec<&str> {
        match self.card.configs.as_slice() {
            [] => vec![ONLY],
            configs => configs.iter().map(|declared| declared.name.as_str()).collect(),
        }
    }

    /// The files of a config: of the one that is named, of the default one, or of the only one.
    ///
    /// A config that is not chosen is not looked at, so what is wrong with it does not matter.
    pub(in crate::dataset) fn choose(&self, config: Option<&str>) -> Result<Config, Fault> {
        let mut listing = Listing::new(self.files, &self.sorted);
        if self.card.configs.is_empty() {
            return match config {
                None | Some(ONLY) => undeclared(&mut listing)?.0.if_read(),
                Some(other) => Err(self.unknown(other)),
            };
        }
        let Some(declared) = self.card.find(config)? else {
            return Err(config.map_or_else(
                || Fault::ConfigMissing { configs: listed(self.configs(), SHOWN) },
                |config| self.unknown(config),
            ));
        };
        self.declared(&mut listing, declared)?.if_read()
    }

    /// The files of a declared config, in whatever format.
    fn declared(&self, listing: &mut Listing, declared: &Declared) -> Result<Config, Fault> {
        let Some(patterns) = &declared.splits else {
            let patterns = infer::splits(listing, &declared.folder)?;
            let splits = splits(listing, &declared.folder, &patterns)?;
            return Config::of(listing, declared, splits);
        };
        let mut splits = splits(listing, &declared.folder, patterns)?;
        // The library looks for the format in the first config only, and there every split must have files.
        let is_first = self.card.configs.first().is_some_and(|first| first.name == declared.name);
        let empty = splits.iter().position(|(_, files)| files.is_empty());
        if let Some((split, patterns)) = empty.and_then(|empty| patterns.get(empty))
            && (is_first || splits.iter().all(|(_, files)| files.is_empty()))
        {
            let patterns = listed(patterns.iter().map(String::as_str), SHOWN);
            return Err(Fault::NothingMatches { split: plain(split), patterns });
        }
        splits.retain(|(_, files)| !files.is_empty());
        Config::of(listing, declared, splits)
    }

    fn unknown(&self, config: &str) -> Fault {
        let names = self.configs();
        Fault::UnknownConfig {
            config: plain(config),
            nearest: hint(nearest(config, names.iter().copied())),
            configs: listed(names, SHOWN),
        }
    }
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(" (did you mean `{}`?)", plain(name)))
}

/// The only config of a dataset whose card declares none, in whatever format, and its patterns.
fn undeclared(listing: &mut Listing) -> Result<(Config, Patterns), Fault> {
    let only = Declared { name: ONLY.to_owned(), ..Declared::default() };
    let patterns = infer::splits(listing, "")?;
    let splits = splits(listing, "", &patterns)?;
    Ok((Config::of(listing, &only, splits)?, patterns))
}

/// The files of each split below `folder` (empty: anywhere).
fn splits(
    listing: &mut Listing,
    folder: &str,
    patterns: &Patterns,
) -> Result<Vec<(String, Vec<usize>)>, Fault> {
    let files = |(split, patterns): &(String, Vec<String>)| {
        let read: Vec<_> =
            patterns.iter().map(|text| Pattern::new(folder, text)).collect::<Result<_, _>>()?;
        Ok((split.clone(), listing.find_all(&read)?))
    };
    patterns.iter().map(files).collect()
}

impl Config {
    /// Finds the format of the files, and leaves out those that are in another. A file that several patterns name
    /// counts as often, as in the library, but is taken once.
    fn of(listing: &Listing, declared: &Declared, splits: Vec<(String, Vec<usize>)>) -> Result<Self, Fault> {
        let module = infer::module(listing, &splits)?;
        let parameters = parameters(module, &declared.parameters)?;
        let splits = splits.into_iter().map(|(name, mut files)| {
            let mut taken = HashSet::new();
            files.retain(|index| module.takes(listing.name(*index)) && taken.insert(*index));
            Split { name, files }
        });
        Ok(Self { name: declared.name.clone(), splits: splits.collect(), module, parameters })
    }

    fn if_read(self) -> Result<Self, Fault> {
        if self.module.is_read() {
            return Ok(self);
        }
        let what = format!("the format `{}` of config `{}`", self.module.name(), plain(&self.name));
        Err(Fault::Unsupported { what })
    }

    /// The files of a split, or of several: `train+test`, `all`. None is `train`. Each file comes once.
    pub(in crate::dataset) fn split(&self, expression: Option<&str>) -> Result<Vec<usize>, Fault> {
        let expression = expression.unwrap_or("train").trim();
        let named = |name: &str| self.splits.iter().find(|split| split.name == name);
        let splits: Vec<_> = if let Some(split) = named(expression) {
            vec![split]
        } else if expression.contains('[') {
            return Err(Fault::Slice { expression: plain(expression) });
        } else if expression == "all" {
            self.splits.iter().collect()
        } else {
            let find = |name: &str| named(name.trim()).ok_or_else(|| self.unknown(name.trim()));
            expression.split('+').map(find).collect::<Result<_, _>>()?
        };
        let mut taken = HashSet::new();
        let files = splits.into_iter().flat_map(|split| &split.files);
        Ok(files.copied().filter(|file| taken.insert(*file)).collect())
    }

    fn unknown(&self, split: &str) -> Fault {
        let names = || self.splits.iter().map(|split| split.name.as_str());
        Fault::UnknownSplit {
            split: plain(split),
            nearest: hint(nearest(split, names())),
            splits: listed(names(), SHOWN),
        }
    }

    /// How one of its files is written and compressed: by the suffixes of its name that belong to the config, and
    /// with the separator that the card names.
    pub(in crate::dataset) fn format(&self, path: &str) -> Result<(Format, Compression), Fault> {
        let (format, compression) = named(path, Some(self.module))?;
        let format = match (format, self.parameters.separator) {
            (Format::Csv { .. }, Some(separator)) => Format::Csv { separator },
            (format, _) => format,
        };
        Ok((format, compression))
    }
}

/// What the card tells the reader of these files.
fn parameters(module: Module, given: &Map<String, Value>) -> Result<Parameters, Fault> {
    let mut parameters = Parameters::default();
    for (key, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        match (key.as_str(), module) {
            ("sep" | "delimiter", Module::Csv | Module::Tsv) => match value.as_str().map(str::as_bytes) {
                // `delimiter` is the other name of `sep`, and wins.
                Some([separator]) if key == "delimiter" || !given.contains_key("delimiter") => {
                    parameters.separator = Some(*separator);
                }
                Some([_]) => {}
                _ => return Err(wrong("sep", value, "one ASCII character")),
            },
            ("field", Module::Json) => match value.as_str() {
                Some(field) => parameters.field = Some(field.to_owned()),
                None => return Err(wrong("field", value, "the name of a key")),
            },
            ("sample_by", Module::Text) => {
                parameters.sample_by = match value.as_str() {
                    Some("line") => Unit::Line,
                    Some("paragraph") => Unit::Paragraph,
                    Some("document") => Unit::Document,
                    _ => return Err(wrong("sample_by", value, "line, paragraph or document")),
                };
            }
            // What they say is in the data, or is for people.
            ("features" | "version" | "description", _) => {}
            _ => parameters.unknown.push(key.clone()),
        }
    }
    Ok(parameters)
}

fn wrong(key: &'static str, value: &Value, expected: &'static str) -> Fault {
    Fault::BadParameter { key, value: plain(&value.to_string()), expected }
}

#[cfg(test)]
mod tests;
