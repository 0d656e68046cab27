//! The whole of the room: the answers of the `datasets` library 5.2.0, and what it leaves open.

use super::*;
use proptest::prelude::*;
use serde_json::Value;

/// What the library answered, recorded: names of files, cards, and the outcome of each.
const GOLDEN: &str = include_str!("../../../tests/fixtures/hub/inference_cases.json");

fn cases(table: &str) -> Vec<Value> {
    let mut golden: Value = serde_json::from_str(GOLDEN).unwrap();
    serde_json::from_value(golden[table].take()).unwrap()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn by_split(value: &Value) -> Vec<(String, Vec<String>)> {
    value.as_object().unwrap().iter().map(|(split, list)| (split.clone(), strings(list))).collect()
}

fn named_splits(config: &Config, files: &[String]) -> Vec<(String, Vec<String>)> {
    let name = |index: &usize| files[*index].clone();
    config.splits.iter().map(|split| (split.name.clone(), split.files.iter().map(name).collect())).collect()
}

/// The library's error, as the fault that stands for it.
fn is_same_reason(fault: &Fault, error: &str) -> bool {
    match fault {
        Fault::Empty => error.starts_with("EmptyDatasetError"),
        Fault::NoneSupported { .. } => error.starts_with("DataFilesNotFoundError"),
        Fault::BadSplitName { .. } => error.contains("Split name should match"),
        Fault::MixedFormats { .. } => {
            error.contains("same data file format") && !error.contains("(None, {})")
        }
        Fault::NothingMatches { .. } => {
            error.contains("same data file format") && error.contains("(None, {})")
        }
        Fault::MissingFile { .. } => error.contains("Unable to find"),
        Fault::SeveralDefaults { .. } => error.contains("several default configs"),
        Fault::ConfigMissing { .. } => error.contains("Config name is missing"),
        Fault::BadCard { problem, .. } => [
            ("twice", "duplicated in data_files"),
            ("is no name of a split", "Expected data_files in YAML"),
            ("must have a `config_name`", "must include `config_name`"),
            ("to be a list", "Expected configs to be a list"),
        ]
        .iter()
        .any(|(ours, theirs)| problem.contains(ours) && error.contains(theirs)),
        _ => false,
    }
}

#[test]
fn names_of_files_make_the_splits_that_the_library_makes() {
    let cases = cases("split_inference");
    assert_eq!(cases.len(), 55);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let files = strings(&case["files"]);
        let sorted = listing::sorted(&files);
        let mut listing = Listing::new(&files, &sorted);
        match (undeclared(&mut listing), case["error"].as_str()) {
            (Ok((config, patterns)), None) => {
                assert_eq!(patterns, by_split(&case["patterns"]), "{name}");
                assert_eq!(named_splits(&config, &files), by_split(&case["final"]), "{name}");
                assert_eq!(config.module.name(), case["module"][0], "{name}");
                for (split, expected) in by_split(&case["splits"]) {
                    let (_, patterns) = patterns.iter().find(|(own, _)| *own == split).unwrap();
                    let patterns: Vec<_> =
                        patterns.iter().map(|pattern| Pattern::new("", pattern).unwrap()).collect();
                    let found = listing.find_all(&patterns).unwrap();
                    let found: Vec<_> = found.into_iter().map(|index| files[index].clone()).collect();
                    assert_eq!(found, expected, "{name}");
                }
            }
            (Err(fault), Some(error)) => {
                assert!(is_same_reason(&fault, error), "{name}: {fault:?}, not {error}");
            }
            (outcome, error) => panic!("{name}: {outcome:?}, not {error:?}"),
        }
    }
}

#[test]
fn a_card_makes_the_configs_that_the_library_makes() {
    let cases = cases("yaml_configs");
    assert_eq!(cases.len(), 25);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let files = strings(&case["files"]);
        let readme = case["yaml"].as_str().map(|yaml| {
            let end = if yaml.contains('\r') { "\r\n" } else { "\n" };
            format!("---{end}{yaml}---{end}# Title{end}")
        });
        if let Some(error) = case["error"].as_str() {
            let outcome = card(readme.as_deref(), None).and_then(|card| layout(&card, &files).choose(None));
            assert!(is_same_reason(outcome.as_ref().unwrap_err(), error), "{name}: {outcome:?}, not {error}");
            continue;
        }
        let card = card(readme.as_deref(), None).unwrap();
        let layout = layout(&card, &files);
        assert_eq!(layout.card.default_config().ok().flatten(), case["default_config"].as_str(), "{name}");
        let expected = case["configs"].as_object().unwrap();
        assert_eq!(layout.configs(), expected.keys().collect::<Vec<_>>(), "{name}");
        for (config, splits) in expected {
            let config = layout.choose(Some(config)).unwrap();
            assert_eq!(named_splits(&config, &files), by_split(splits), "{name}");
        }
        let first = layout.choose(layout.configs().first().copied()).unwrap();
        assert_eq!(first.module.name(), case["module"], "{name}");
        match (layout.choose(None), case["builder_default_error"].as_str()) {
            (Ok(config), None) => assert_eq!(config.name, case["builder_default"], "{name}"),
            (Err(fault), Some(error)) => assert!(is_same_reason(&fault, error), "{name}: {fault:?}"),
            (outcome, error) => panic!("{name}: {outcome:?}, not {error:?}"),
        }
    }
}

fn choose(yaml: &str, files: &[&str], config: Option<&str>) -> Result<Config, Fault> {
    let files: Vec<_> = files.iter().map(|file| (*file).to_owned()).collect();
    layout(&card(None, Some(yaml))?, &files).choose(config)
}

const TWO: &str = "configs:\n- config_name: en\n  data_files: en*\n- config_name: fr\n  data_files: fr*\n";

#[test]
fn a_config_is_named_or_its_choice_is_explained() {
    let files = ["en.csv", "fr.jsonl"];
    assert_eq!(choose(TWO, &files, Some("fr")).unwrap().module, Module::Json);
    let said = |config| choose(TWO, &files, config).unwrap_err().to_string();
    assert_eq!(said(None), "it has several configs and no default: name one (--config): en, fr");
    assert_eq!(said(Some("\x1bde")), "no config `\\u{1b}de`: it has en, fr (--config)");
    let nearest = choose("", &["a.csv"], Some("defalt")).unwrap_err().to_string();
    assert_eq!(nearest, "no config `defalt` (did you mean `default`?): it has default (--config)");
}

#[test]
fn what_is_not_read_matters_only_where_it_is_chosen() {
    let files = ["en.tar", "fr.jsonl"];
    assert!(choose(TWO, &files, Some("fr")).is_ok());
    let said = choose(TWO, &files, Some("en")).unwrap_err().to_string();
    assert!(
        said.starts_with("the format `webdataset` of config `en` is not read; read are parquet,"),
        "{said}"
    );
    assert!(matches!(choose(TWO, &["fr.csv"], Some("en")), Err(Fault::NothingMatches { .. })));
    assert!(matches!(choose(TWO, &["en.csv"], Some("fr")), Err(Fault::NothingMatches { .. })));
    assert!(choose(TWO, &["fr.csv"], Some("fr")).is_ok());
}

#[test]
fn a_split_without_files_is_left_out_of_a_config_that_is_not_the_first() {
    let splits = "  data_files: [{split: train, path: a*}, {split: test, path: b*}]\n";
    let yaml = format!("configs:\n- config_name: x\n{splits}- config_name: y\n{splits}");
    assert!(matches!(choose(&yaml, &["a.csv"], Some("x")), Err(Fault::NothingMatches { .. })));
    assert_eq!(choose(&yaml, &["a.csv"], Some("y")).unwrap().splits.len(), 1);
}

#[test]
fn two_defaults_leave_a_named_config_readable() {
    let yaml = "configs:\n- config_name: default\n  data_files: a.csv\n- config_name: y\n  default: true\n  \
                data_files: b.csv\n";
    assert!(matches!(choose(yaml, &["a.csv", "b.csv"], None), Err(Fault::SeveralDefaults { .. })));
    assert!(choose(yaml, &["a.csv", "b.csv"], Some("y")).is_ok());
}

#[test]
fn a_split_is_one_or_several_or_all() {
    let config = choose("", &["train_dev.csv", "test.csv", "train.csv"], None).unwrap();
    let split = |expression| config.split(expression);
    assert_eq!(split(None), Ok(vec![2, 0]));
    assert_eq!(split(Some("validation")), Ok(vec![0]));
    assert_eq!(split(Some("test + train")), Ok(vec![1, 2, 0]));
    assert_eq!(split(Some("all")), Ok(vec![2, 0, 1]));
    let said = |expression| split(Some(expression)).unwrap_err().to_string();
    assert_eq!(said("dev"), "no split `dev`: it has train, validation, test (--split)");
    assert_eq!(
        said("train+tset"),
        "no split `tset` (did you mean `test`?): it has train, validation, test (--split)"
    );
    assert_eq!(
        said("train[:10]"),
        "`train[:10]` is a slice, and splits are taken whole: for the first rows use --max N --sample first, for a \
         random sample --max N"
    );
    let only = choose("", &["test.csv"], None).unwrap();
    assert!(matches!(only.split(None), Err(Fault::UnknownSplit { .. })));
}

#[test]
fn parameters_of_a_card_reach_the_reader() {
    let config = |parameter: &str, file: &str| {
        let yaml = format!("configs:\n- config_name: x\n  data_files: {file}\n  {parameter}\n");
        choose(&yaml, &[file], None)
    };
    let csv = config("sep: '|'", "a.tsv").unwrap();
    assert_eq!(csv.format("a.tsv"), Ok((Format::Csv { separator: b'|' }, Compression::None)));
    let csv = config("sep: ';'\n  delimiter: \"\\t\"\n  skiprows: 3", "a.csv").unwrap();
    assert_eq!(
        (csv.parameters.separator, csv.parameters.unknown),
        (Some(b'\t'), vec!["skiprows".to_owned()])
    );
    assert_eq!(config("field: data", "a.json").unwrap().parameters.field.as_deref(), Some("data"));
    let text = config("sample_by: paragraph", "a.txt.gz").unwrap();
    assert_eq!(text.parameters.sample_by, Unit::Paragraph);
    assert_eq!(text.format("a.txt.gz"), Ok((Format::Text, Compression::Gzip)));
    assert_eq!(text.format("a.txt.gz"), format_of("a.txt.gz"));
    assert_eq!(config("features: []", "a.txt").unwrap().parameters, Parameters::default());
    assert_eq!(
        config("sep: '\\s+'", "a.csv").unwrap_err().to_string(),
        r#"the card sets `sep: "\\s+"`: expected one ASCII character"#
    );
}

#[test]
fn a_file_of_many_patterns_counts_for_each_and_comes_once() {
    let config = choose("", &["train/train-v2/a.csv", "train/b.csv"], None).unwrap();
    assert_eq!(config.split(None), Ok(vec![1, 0]));
    // `val_val` is named by two patterns, so that JSON outweighs parquet.
    let files = ["en/val_val.jsonl", "set/validation_.parquet"];
    assert_eq!(choose("", &files, None).unwrap().split(Some("all")), Ok(vec![0]));
}

#[test]
fn a_card_names_no_files_outside() {
    for path in ["../secret.csv", "/etc/passwd", "hf://datasets/a/b/c.csv", "s3://x/y.csv"] {
        let yaml = format!("configs:\n- config_name: x\n  data_files: {path}\n");
        assert!(matches!(choose(&yaml, &["a.csv"], None), Err(Fault::BadPattern { .. })), "{path}");
    }
}

#[test]
fn many_files_are_divided_and_a_card_that_takes_too_much_work_is_refused() {
    let file = |index: u32| format!("latest/contest-dev/part-{:03}/0{index:06}.jsonl.zst", index % 500);
    let files: Vec<_> = (0..5_000).map(file).collect();
    let none = card(None, None).unwrap();
    let config = layout(&none, &files).choose(None).unwrap();
    assert_eq!(config.split(Some("validation")).unwrap().len(), files.len());

    let patterns = vec!["'*a*e*0*x/**/y'"; 50_000].join(", ");
    let hostile = format!("configs:\n- config_name: x\n  data_files: [{patterns}]\n");
    let hostile = card(None, Some(&hostile)).unwrap();
    assert_eq!(layout(&hostile, &files).choose(None), Err(Fault::TooMuchWork));
}

proptest! {
    #[test]
    fn no_card_and_no_listing_panics(
        yaml in r#"(configs:\n)?((- |  )?(config_name|data_files|split|path|sep|default|data_dir)?: ?[\[\]{}*&'"a-c\.\*/?!-]{0,8}\n){0,8}"#,
        text in "\\PC{0,60}",
        files in prop::collection::vec("[a-c./_\\[\\]-]{0,6}(train|test|data/|-00000-of-00001|é)?[./-]?(csv|json|gz|zip)?", 0..8),
        asked in prop::option::of("[a-c+\\[]{0,3}"),
    ) {
        for card in [card(Some(&yaml), Some(&text)), card(Some(&text), Some(&yaml)), card(None, Some(&yaml))] {
            let Ok(card) = card else { continue };
            let _ = card.folders(asked.as_deref());
            let layout = layout(&card, &files);
            if let Ok(config) = layout.choose(asked.as_deref()).or_else(|_| layout.choose(None)) {
                let _ = config.split(asked.as_deref());
                for file in &files {
                    let _ = config.format(file);
                }
            }
        }
    }

    #[test]
    fn what_a_pattern_finds_does_not_depend_on_the_order_of_the_listing(
        pattern in "(\\*\\*/)?[a-c*?\\[\\]!-]{1,5}(/[a-c*?]{1,3})?",
        mut files in prop::collection::vec("[a-c]{1,3}(/[a-c]{1,3}){0,2}", 0..12),
    ) {
        files.sort();
        files.dedup();
        let find = |files: &[String]| {
            let sorted = listing::sorted(files);
            let pattern = Pattern::new("", &pattern)?;
            let found = Listing::new(files, &sorted).find(&pattern, listing::Of::All)?;
            Ok::<_, Fault>(found.into_iter().map(|index| files[index].clone()).collect::<Vec<_>>())
        };
        let forward = find(&files);
        files.reverse();
        prop_assert_eq!(forward, find(&files));
    }
}
