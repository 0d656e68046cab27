//! `README.md` of an output: a dataset card that says where its rows come from and what they were kept by.
//!
//! Its front matter is read by `datasets` and by the Hub. All else is for people. Names come from strangers: they are
//! escaped for Markdown, and quoted as JSON for YAML, which is a superset of it.

use std::fmt::Write as _;

use super::shards::{To, split_name};

/// What a card says.
#[derive(Debug, Clone)]
pub struct Card {
    /// The output's name.
    pub name: String,
    /// The dataset that the rows come from.
    pub dataset: String,
    /// Its commit, of a dataset at the Hub.
    pub revision: Option<String>,
    /// The split that was asked for; the shards have its [`split_name`].
    pub split: String,
    /// The form of the shards.
    pub to: To,
    /// Who rated.
    pub lenses: Vec<Lens>,
    /// What rows were kept by, each as it was given: `--min 2.5`.
    pub cuts: Vec<String>,
    /// What became of the rows: a word and a number each.
    pub counts: Vec<(String, u64)>,
    /// The added columns, and what each holds.
    pub added: Vec<(String, String)>,
}

/// A lens of a card.
#[derive(Debug, Clone)]
pub struct Lens {
    /// Its name.
    pub name: String,
    /// Who answered.
    pub model: String,
    /// The version of the ratings.
    pub version: u32,
    /// Lowest and highest score, where known.
    pub scale: Option<(f64, f64)>,
}

impl Card {
    /// The card as Markdown with its front matter.
    pub fn markdown(&self) -> String {
        let mut card = self.front_matter();
        let _ = write!(card, "\n# {}\n\nRows of {}", escaped(&self.name), code(&self.dataset));
        if let Some(revision) = &self.revision {
            let _ = write!(card, " at revision {}", code(revision));
        }
        card.push_str(" that were kept by `classified filter`.\n");
        if !self.lenses.is_empty() {
            let rows = self.lenses.iter().map(|lens| {
                let scale = lens.scale.map_or("–".to_owned(), |(low, high)| format!("{low} to {high}"));
                vec![code_cell(&lens.name), code_cell(&lens.model), lens.version.to_string(), scale]
            });
            card.push_str("\n## Ratings\n\n");
            table(&mut card, &["Lens", "Model", "Version", "Scale"], rows);
            card.push_str(
                "\nA score is the opinion of the model named here, on the text it was shown. It is no measurement: another model, or \
                 another wording of the lens, gives other scores.\n",
            );
        }
        card.push_str("\n## Kept\n\n");
        for cut in &self.cuts {
            let _ = writeln!(card, "- {}", code(cut));
        }
        if !self.cuts.is_empty() {
            card.push('\n');
        }
        table(
            &mut card,
            &["Rows", "Count"],
            self.counts.iter().map(|(what, count)| vec![escaped(what), count.to_string()]),
        );
        if !self.added.is_empty() {
            card.push_str("\n## Added columns\n\n");
            let rows = self.added.iter().map(|(name, what)| vec![code_cell(name), escaped(what)]);
            table(&mut card, &["Column", "What it holds"], rows);
            card.push_str("\nAll other columns are those of the input, in their types.\n");
        }
        self.loading(&mut card);
        card
    }

    /// The files' pattern, for `datasets` and the Hub.
    fn files(&self) -> String {
        format!("data/{}-*", split_name(&self.split))
    }

    fn front_matter(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(visible(text)).to_string();
        let mut yaml = "---\nconfigs:\n- config_name: default\n  data_files:\n".to_owned();
        let _ = writeln!(
            yaml,
            "  - split: {}\n    path: {}",
            quoted(split_name(&self.split)),
            quoted(&self.files())
        );
        yaml.push_str("tags:\n- classified\n---\n");
        yaml
    }

    fn loading(&self, card: &mut String) {
        let format = match self.to {
            To::Parquet => "parquet",
            To::Jsonl => "json",
        };
        let ending = self.to.ending();
        let split = split_name(&self.split);
        let polars = match self.to {
            To::Parquet => "scan_parquet",
            To::Jsonl => "scan_ndjson",
        };
        let _ = write!(
            card,
            "\n## Loading\n\nWith this folder as `FOLDER`:\n\n```python\n\
             datasets.load_dataset(\"{format}\", data_dir=\"FOLDER\", split=\"{split}\")\n\
             polars.{polars}(\"FOLDER/data/*.{ending}\")\n\
             duckdb.sql(\"FROM 'FOLDER/data/*.{ending}'\")\n```\n"
        );
    }
}

/// Appends a Markdown table. Cells are escaped already.
fn table(into: &mut String, header: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let _ = writeln!(into, "| {} |", header.join(" | "));
    let _ = writeln!(into, "|{}", " --- |".repeat(header.len()));
    for row in rows {
        let _ = writeln!(into, "| {} |", row.join(" | "));
    }
}

/// Text on one line, without characters that are not seen or that turn the direction of writing.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
            '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}' => {
                '\u{FFFD}'
            }
            c if c.is_control() => '\u{FFFD}',
            c => c,
        })
        .collect()
}

/// Text in which nothing is Markdown or HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in visible(text).chars() {
        // A backslash before any ASCII punctuation is that character (CommonMark 0.31.2, 2.4).
        if c.is_ascii_punctuation() && !matches!(c, ',' | '.' | '-' | '/' | ':' | ';' | '%' | '?' | '\'') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    // What begins a line: a heading, a list, a number of one.
    if escaped.starts_with(['-', '.', ' ']) || escaped.starts_with(|c: char| c.is_ascii_digit()) {
        escaped.insert(0, '\u{200B}');
    }
    escaped
}

/// Text as code, whatever it is.
///
/// The fence is longer than any run of backticks inside, and nothing is escaped (`CommonMark` 0.31.2, 6.1).
fn code(text: &str) -> String {
    let text = visible(text);
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space =
        if text.is_empty() || text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// Text as code in a cell of a table. A bar would end the cell even in code, and a backslash before it is the only escape
/// that tables take there (GitHub Flavored Markdown, 4.10).
fn code_cell(text: &str) -> String {
    code(text).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> Card {
        Card {
            name: "kept".into(),
            dataset: "vikp/textbooks".into(),
            revision: Some("0123abc".into()),
            split: "train".into(),
            to: To::Parquet,
            lenses: vec![Lens {
                name: "textbook_quality".into(),
                model: "gpt-6-luna".into(),
                version: 1,
                scale: Some((1.0, 3.0)),
            }],
            cuts: vec!["--min 2.5".into()],
            counts: vec![
                ("in".into(), 100),
                ("kept".into(), 40),
                ("dropped".into(), 58),
                ("unrated: refusal".into(), 2),
            ],
            added: vec![("textbook_quality_score".into(), "the lens's score".into())],
        }
    }

    #[test]
    fn a_card_says_what_was_filtered_by_whom_and_how() {
        insta::assert_snapshot!(card().markdown(), @r#"
        ---
        configs:
        - config_name: default
          data_files:
          - split: "train"
            path: "data/train-*"
        tags:
        - classified
        ---

        # kept

        Rows of `vikp/textbooks` at revision `0123abc` that were kept by `classified filter`.

        ## Ratings

        | Lens | Model | Version | Scale |
        | --- | --- | --- | --- |
        | `textbook_quality` | `gpt-6-luna` | 1 | 1 to 3 |

        A score is the opinion of the model named here, on the text it was shown. It is no measurement: another model, or another wording of the lens, gives other scores.

        ## Kept

        - `--min 2.5`

        | Rows | Count |
        | --- | --- |
        | in | 100 |
        | kept | 40 |
        | dropped | 58 |
        | unrated: refusal | 2 |

        ## Added columns

        | Column | What it holds |
        | --- | --- |
        | `textbook_quality_score` | the lens's score |

        All other columns are those of the input, in their types.

        ## Loading

        With this folder as `FOLDER`:

        ```python
        datasets.load_dataset("parquet", data_dir="FOLDER", split="train")
        polars.scan_parquet("FOLDER/data/*.parquet")
        duckdb.sql("FROM 'FOLDER/data/*.parquet'")
        ```
        "#);
    }

    #[test]
    fn several_splits_become_one_of_the_same_name_in_the_card_and_in_the_files() {
        for asked in ["train+test", "all"] {
            let text = Card { split: asked.into(), ..card() }.markdown();
            assert!(text.contains("  - split: \"train\"\n    path: \"data/train-*\"\n"), "{text}");
            assert!(text.contains("split=\"train\")"), "{text}");
        }
        let text =
            Card { split: "test".into(), cuts: vec!["--where 'a or \"|\"'".into()], ..card() }.markdown();
        assert!(text.contains("\"data/test-*\"") && text.contains("split=\"test\")"), "{text}");
        assert!(text.contains("- `--where 'a or \"|\"'`\n"), "{text}");
    }

    #[test]
    fn names_of_strangers_are_neither_markdown_nor_yaml() {
        let evil = "x`\n---\n# no | <script>alert(1)</script> [a](javascript:b)\u{202e}\u{7}\"";
        let card = Card {
            name: evil.into(),
            dataset: evil.into(),
            revision: Some(evil.into()),
            split: "a\": [b]\n- c".into(),
            lenses: vec![Lens { name: evil.into(), model: evil.into(), version: 1, scale: None }],
            cuts: vec![evil.into()],
            counts: vec![(evil.into(), 1)],
            added: vec![(evil.into(), evil.into())],
            ..card()
        };
        let text = card.markdown();
        assert_eq!(text.lines().filter(|line| *line == "---").count(), 2, "{text}");
        let yaml = text.split("---\n").nth(1).unwrap();
        let front: serde_json::Value = serde_saphyr::from_str(yaml).unwrap();
        assert_eq!(front["configs"][0]["data_files"][0]["split"], "train");
        assert!(!text.contains(['\u{202e}', '\u{7}']));
        // Outside of code nothing is HTML, and in code every run of backticks is shorter than the fence.
        assert!(!escaped(evil).contains(" <script") && escaped(evil).contains("\\<script\\>"));
        assert_eq!(code("a`b``c"), "```a`b``c```");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!((code("a|b").as_str(), code_cell("a|b").as_str()), ("`a|b`", "`a\\|b`"));
        assert_eq!(code("row.a == 1 || row['x\\y']"), "`row.a == 1 || row['x\\y']`");
        let cells = text.lines().filter(|line| line.starts_with("| ``"));
        assert!(cells.count() >= 2);
    }
}
