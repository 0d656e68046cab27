//! What a dataset's card declares: the YAML at the top of README.md, and `.huggingface.yaml`, which overrides it.
//!
//! Keys and their meaning are those of the `datasets` library 5.2 (its module `utils.metadata`). The card is a
//! stranger's text: its size, depth, nodes and aliases are bounded.

use super::Fault;
use super::glob::Pattern;
use super::infer::{Patterns, is_split};
use crate::dataset::error::plain;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

const README: &str = "README.md";
const EXTRA: &str = ".huggingface.yaml";

/// What a dataset's card says about its files. Without a card: nothing.
#[derive(Debug, Default)]
pub(in crate::dataset) struct Card {
    pub(super) configs: Vec<Declared>,
    default: DefaultConfig,
    /// Config, split, and how many rows it is said to have.
    rows: Vec<(String, String, u64)>,
}

/// Which config is taken if none is named.
#[derive(Debug, Default)]
enum DefaultConfig {
    #[default]
    Unsaid,
    Is(String),
    Several(String, String),
}

/// A config as the card declares it.
#[derive(Debug, Default)]
pub(super) struct Declared {
    pub(super) name: String,
    /// The folder of its files, or empty.
    pub(super) folder: String,
    /// The patterns of its files; None where the files' names tell.
    pub(super) splits: Option<Patterns>,
    /// Parameters for the reader of its files.
    pub(super) parameters: Map<String, Value>,
}

/// The keys of the YAML that are read. A key that is there with nothing is not the same as no key: it overrides.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Front {
    #[serde(deserialize_with = "present")]
    configs: Option<Value>,
    #[serde(deserialize_with = "present")]
    dataset_info: Option<Value>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Reads a card from the texts of README.md and `.huggingface.yaml`, where they exist.
pub(in crate::dataset) fn card(readme: Option<&str>, extra: Option<&str>) -> Result<Card, Fault> {
    let mut front = readme.and_then(block).map_or(Ok(Front::default()), |yaml| front(README, yaml))?;
    let mut file = README;
    if let Some(extra) = extra {
        let over = self::front(EXTRA, extra)?;
        if over.configs.is_some() {
            file = EXTRA;
            front.configs = over.configs;
        }
        front.dataset_info = over.dataset_info.or(front.dataset_info);
    }
    let configs = configs(front.configs).map_err(|problem| Fault::BadCard { file, problem })?;
    let rows = front.dataset_info.as_ref().map_or(Vec::new(), rows);
    let infos = front.dataset_info.map_or(Vec::new(), |info| infos(&info));
    let default = match (default(&configs), infos.as_slice()) {
        (DefaultConfig::Unsaid, [only]) => DefaultConfig::Is(only.clone()),
        (default, _) => default,
    };
    let configs = configs.into_iter().map(|(declared, _)| declared).collect();
    Ok(Card { configs, default, rows })
}

impl Card {
    /// A card that names every file of every split of every config itself.
    pub(in crate::dataset) fn of(configs: Vec<(String, Patterns)>) -> Self {
        // What stands in brackets is no wildcard.
        let literal = |path: &String| {
            path.chars()
                .map(|c| if matches!(c, '[' | '*' | '?') { format!("[{c}]") } else { c.into() })
                .collect()
        };
        let configs = configs.into_iter().map(|(name, splits)| {
            let splits =
                splits.into_iter().map(|(split, paths)| (split, paths.iter().map(literal).collect()));
            Declared { name, folder: String::new(), splits: Some(splits.collect()), parameters: Map::new() }
        });
        let configs: Vec<Declared> = configs.collect();
        let default = configs.iter().any(|config| config.name == "default");
        let default = if default { DefaultConfig::Is("default".into()) } else { DefaultConfig::Unsaid };
        Self { configs, default, rows: Vec::new() }
    }

    /// Whether it declares configs.
    pub(in crate::dataset) fn is_declared(&self) -> bool {
        !self.configs.is_empty()
    }

    /// How many rows a split is said to have.
    pub(in crate::dataset) fn rows(&self, config: &str, split: &str) -> Option<u64> {
        let found = self.rows.iter().find(|(own, each, _)| own == config && each == split);
        found.map(|(.., rows)| *rows)
    }

    /// The name of the config that is taken if none is named; None where the card does not say.
    pub(super) fn default_config(&self) -> Result<Option<&str>, Fault> {
        match &self.default {
            DefaultConfig::Unsaid => Ok(None),
            DefaultConfig::Is(name) => Ok(Some(name)),
            DefaultConfig::Several(one, other) => {
                Err(Fault::SeveralDefaults { one: plain(one), other: plain(other) })
            }
        }
    }

    /// The declared config of this name, or the default one. None where there is no such config.
    pub(super) fn find(&self, config: Option<&str>) -> Result<Option<&Declared>, Fault> {
        let named = |name| self.configs.iter().find(|declared| declared.name == name);
        if let Some(name) = config {
            return Ok(named(name));
        }
        let default = self.default_config()?.and_then(named);
        Ok(match self.configs.as_slice() {
            [only] => Some(only),
            _ => default,
        })
    }

    /// The folders that hold every file of `config` (of the default one, if None), so that only these must be
    /// listed; None where all files of the dataset must be.
    pub(in crate::dataset) fn folders(&self, config: Option<&str>) -> Option<Vec<String>> {
        // Beyond this, one listing of everything is less work.
        const MOST: usize = 16;
        let declared = self.find(config).ok()??;
        let mut folders = Vec::new();
        match &declared.splits {
            None => folders.push(Pattern::new(&declared.folder, "**").ok()?.folder().to_owned()),
            Some(splits) => {
                for text in splits.iter().flat_map(|(_, patterns)| patterns) {
                    folders.push(Pattern::new(&declared.folder, text).ok()?.folder().to_owned());
                }
            }
        }
        // A folder is followed by those within it, up to a slash that sorts before other characters.
        folders.sort_by_key(|folder| format!("{folder}/").replace('/', "\0"));
        folders.dedup_by(|inner, outer| {
            inner.strip_prefix(outer.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        (folders.len() <= MOST && folders.iter().all(|folder| !folder.is_empty())).then_some(folders)
    }
}

/// What `dataset_info` says of the lengths of splits.
fn rows(info: &Value) -> Vec<(String, String, u64)> {
    let infos = info.as_array().map_or(std::slice::from_ref(info), Vec::as_slice);
    let splits = infos.iter().flat_map(|info| {
        let config = info.get("config_name").and_then(scalar).unwrap_or_else(|| "default".to_owned());
        let splits = info.get("splits").and_then(Value::as_array).into_iter().flatten();
        splits.filter_map(move |split| {
            Some((config.clone(), split.get("name").and_then(scalar)?, split.get("num_examples")?.as_u64()?))
        })
    });
    splits.collect()
}

/// The YAML between a first line `---` and the next one.
fn block(readme: &str) -> Option<&str> {
    let text = readme.strip_prefix('\u{feff}').unwrap_or(readme).trim_start().strip_prefix("---")?;
    let text = text.strip_prefix("\r\n").or_else(|| text.strip_prefix(['\r', '\n']))?;
    let is_end = |(at, _): &(usize, &str)| {
        let after = text.get(at + 3..).unwrap_or_default().trim_start_matches([' ', '\t']);
        let is_first = text.get(..*at).is_some_and(|before| before.ends_with(['\r', '\n']));
        is_first && (after.is_empty() || after.starts_with('\n') || after.starts_with("\r\n"))
    };
    let (end, _) = text.match_indices("---").find(is_end)?;
    text.get(..end)
}

fn front(file: &'static str, yaml: &str) -> Result<Front, Fault> {
    const LARGEST: usize = 4 << 20;
    let fault = |problem| Fault::BadCard { file, problem };
    if yaml.len() > LARGEST {
        return Err(fault(format!("its YAML is larger than {} MiB", LARGEST >> 20)));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: 1_000_000, max_events: 4_000_000 },
        // `config_name: no` is the language.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Option<Front>>(yaml, options) {
        Ok(front) => Ok(front.unwrap_or_default()),
        // Many a README begins with a ruled line, or with YAML that only the site reads. Where it says nothing of
        // files, that it is broken is no reason not to read them.
        Err(_) if file == README && !yaml.contains("configs") && !yaml.contains("dataset_info") => {
            Ok(Front::default())
        }
        Err(error) => Err(fault(format!("its YAML cannot be read: {}", plain(&error.to_string())))),
    }
}

/// The declared configs, and whether each says that it is the default one.
fn configs(configs: Option<Value>) -> Result<Vec<(Declared, bool)>, String> {
    let list = match configs {
        Some(Value::Array(list)) => list,
        Some(other) if is_true(&other) => {
            return Err(format!("expected `configs` to be a list, but it is {}", kind(&other)));
        }
        _ => return Ok(Vec::new()),
    };
    let mut configs = Vec::<(Declared, bool)>::with_capacity(list.len());
    let mut places = std::collections::HashMap::new();
    for config in list {
        let config = self::config(config)?;
        // As in a dictionary: the later one replaces the earlier.
        if let Some(same) = places.get(&config.0.name).and_then(|place: &usize| configs.get_mut(*place)) {
            *same = config;
        } else {
            places.insert(config.0.name.clone(), configs.len());
            configs.push(config);
        }
    }
    Ok(configs)
}

fn config(value: Value) -> Result<(Declared, bool), String> {
    let Value::Object(mut map) = value else {
        return Err(format!(
            "expected each of `configs` to have a `config_name`, but one is {}",
            kind(&value)
        ));
    };
    let Some(name) = map.shift_remove("config_name").as_ref().and_then(scalar) else {
        return Err("each of `configs` must have a `config_name`".into());
    };
    let wrong = |problem: String| format!("config `{}`: {problem}", plain(&name));
    let is_default = map.shift_remove("default").is_some_and(|value| is_true(&value));
    let folder = match map.shift_remove("data_dir") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(folder)) => folder,
        Some(other) => {
            return Err(wrong(format!("expected `data_dir` to be a folder, but it is {}", kind(&other))));
        }
    };
    let splits = match map.shift_remove("data_files") {
        None | Some(Value::Null) => None,
        Some(files) => Some(splits(files).map_err(wrong)?),
    };
    Ok((Declared { name, folder, splits, parameters: map }, is_default))
}

/// `data_files`: a path, a list of paths, or a list of splits with their paths.
fn splits(files: Value) -> Result<Patterns, String> {
    const EXPECTED: &str = "expected `data_files` to be a path, a list of paths, or a list of {split, path}";
    let train = |patterns| Ok(vec![("train".to_owned(), patterns)]);
    let list = match files {
        Value::String(path) => return train(vec![path]),
        Value::Array(list) => list,
        other => return Err(format!("{EXPECTED}, but it is {}", kind(&other))),
    };
    if !list.iter().any(Value::is_object) {
        return match paths(Value::Array(list)) {
            Some(paths) => train(paths),
            None => Err(EXPECTED.into()),
        };
    }
    let mut splits = Patterns::with_capacity(list.len());
    let mut names = std::collections::HashSet::new();
    for entry in list {
        let Value::Object(mut entry) = entry else { return Err(EXPECTED.into()) };
        let (split, path) = (entry.shift_remove("split"), entry.shift_remove("path"));
        let (Some(split), Some(patterns), true) =
            (split.as_ref().and_then(scalar), path.and_then(paths), entry.is_empty())
        else {
            return Err(EXPECTED.into());
        };
        if !is_split(&split) {
            let split = plain(&split);
            return Err(format!(
                "`{split}` is no name of a split: it has letters, digits, underscores and dots"
            ));
        }
        if !names.insert(split.clone()) {
            return Err(format!("`data_files` has the split `{}` twice", plain(&split)));
        }
        splits.push((split, patterns));
    }
    Ok(splits)
}

fn paths(value: Value) -> Option<Vec<String>> {
    let text = |value| if let Value::String(text) = value { Some(text) } else { None };
    match value {
        Value::Array(list) => list.into_iter().map(text).collect(),
        one => text(one).map(|text| vec![text]),
    }
}

fn default(configs: &[(Declared, bool)]) -> DefaultConfig {
    let mut default = DefaultConfig::Unsaid;
    for (declared, says_so) in configs {
        if configs.len() == 1 || declared.name == "default" || *says_so {
            default = match default {
                DefaultConfig::Unsaid => DefaultConfig::Is(declared.name.clone()),
                DefaultConfig::Is(one) => return DefaultConfig::Several(one, declared.name.clone()),
                several @ DefaultConfig::Several(..) => several,
            };
        }
    }
    default
}

/// The configs that `dataset_info` tells of: one, or a list.
fn infos(info: &Value) -> Vec<String> {
    let name = |info: &Map<String, Value>| {
        info.get("config_name").and_then(scalar).unwrap_or_else(|| "default".to_owned())
    };
    let mut names: Vec<_> = match info {
        Value::Object(info) => vec![name(info)],
        Value::Array(list) => list.iter().filter_map(Value::as_object).map(name).collect(),
        _ => Vec::new(),
    };
    names.sort_unstable();
    names.dedup();
    names
}

/// A name, which YAML may have taken for a number.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// Whether a value stands for yes, in Python and in YAML 1.1.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !["", "no", "off", "false"].contains(&text.to_lowercase().as_str()),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn folders(yaml: &str, config: Option<&str>) -> Option<Vec<String>> {
        card(Some(&format!("---\n{yaml}\n---\n# Title\n")), None).unwrap().folders(config)
    }

    #[test]
    fn a_block_is_between_two_ruled_lines_at_the_start() {
        assert_eq!(block("---\na: 1\n---\ntext"), Some("a: 1\n"));
        assert_eq!(block("\u{feff}\n ---\r\na: 1\r\n---  \r\ntext"), Some("a: 1\r\n"));
        assert_eq!(block("---\na: ---\n----\n---"), Some("a: ---\n----\n"));
        assert_eq!(block("# Title\n---\na: 1\n---\n"), None);
        assert_eq!(block("---\na: 1\n"), None);
        assert_eq!(block("--- a\n---\n"), None);
    }

    #[test]
    fn the_folders_of_a_config_are_what_its_patterns_begin_with() {
        let yaml = "configs:\n- config_name: en\n  data_files: data/en/*.parquet\n- config_name: fr\n  data_dir: fr/x\n\
                    - config_name: all\n  data_files: ['a/b/*', 'a/*', 'a-c/x.csv', 'd/e.csv']\n\
                    - config_name: top\n  data_files: ['a/*', '*.csv']";
        let some = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(folders(yaml, Some("en")), some(&["data/en"]));
        assert_eq!(folders(yaml, Some("fr")), some(&["fr/x"]));
        assert_eq!(folders(yaml, Some("all")), some(&["a", "a-c", "d"]));
        assert_eq!(folders(yaml, Some("top")), None);
        assert_eq!(folders(yaml, Some("de")), None);
        assert_eq!(folders(yaml, None), None);
        assert_eq!(folders("license: mit", None), None);
    }

    #[test]
    fn a_card_in_a_file_of_its_own_overrides_the_readme() {
        let readme = "---\nconfigs:\n- config_name: a\ndataset_info:\n  config_name: b\n---\n";
        let names = |card: &Card| card.configs.iter().map(|config| config.name.clone()).collect::<Vec<_>>();
        let over = card(Some(readme), Some("configs:\n- config_name: c\n")).unwrap();
        assert_eq!(names(&over), ["c"]);
        let none = card(Some(readme), Some("configs:\n")).unwrap();
        assert_eq!((names(&none), none.default_config()), (vec![], Ok(Some("b"))));
        assert_eq!(names(&card(Some(readme), Some("# nothing\n")).unwrap()), ["a"]);
    }

    #[test]
    fn names_that_yaml_takes_for_something_else_stay_names() {
        let yaml = "---\nconfigs:\n- config_name: no\n- config_name: 2024\n- config_name: 007\n- config_name: on\n\
                    \x20 default: true\n---\n";
        let card = card(Some(yaml), None).unwrap();
        let names: Vec<_> = card.configs.iter().map(|config| config.name.as_str()).collect();
        assert_eq!(names, ["no", "2024", "007", "on"]);
        assert_eq!(card.default_config(), Ok(Some("on")));
    }

    #[test]
    fn a_readme_that_is_broken_matters_only_where_it_tells_of_files() {
        assert!(card(Some("---\nJust: [a ruled line\n---\n"), None).unwrap().configs.is_empty());
        assert!(card(Some("---\nWords between lines\n---\n"), None).unwrap().configs.is_empty());
        let broken = card(Some("---\nconfigs: [\n---\n"), None).unwrap_err();
        assert!(broken.to_string().starts_with("README.md: its YAML cannot be read: "), "{broken}");
        assert!(matches!(card(None, Some("a: [")), Err(Fault::BadCard { file: ".huggingface.yaml", .. })));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut yaml = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let inner = vec![format!("*a{}", level - 1); 10].join(", ");
            writeln!(yaml, "a{level}: &a{level} [{inner}]").unwrap();
        }
        yaml.push_str("configs: *a11\n");
        assert!(matches!(card(None, Some(&yaml)), Err(Fault::BadCard { .. })));
        let deep = format!("configs: {}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(card(None, Some(&deep)), Err(Fault::BadCard { .. })));
        let large = format!("configs: [{}]", "1,".repeat(3 << 20));
        assert!(matches!(card(None, Some(&large)), Err(Fault::BadCard { .. })));
    }

    #[test]
    fn a_card_that_makes_no_sense_says_what_was_expected() {
        let said = |yaml: &str| card(None, Some(yaml)).unwrap_err().to_string();
        assert_eq!(
            said("configs:\n- config_name: a\n  data_files: {train: x}"),
            ".huggingface.yaml: config `a`: expected `data_files` to be a path, a list of paths, or a list of {split, \
             path}, but it is a mapping"
        );
        assert_eq!(
            said("configs:\n- config_name: a\n  data_dir: 3"),
            ".huggingface.yaml: config `a`: expected `data_dir` to be a folder, but it is a number"
        );
        assert!(said("configs: x").ends_with("expected `configs` to be a list, but it is a text"));
        assert!(said("configs: [x]").ends_with("but one is a text"));
    }
}
