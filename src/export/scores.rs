//! The scores of rows as a file of their own: a parquet table, or attributes in the manner of Dolma as JSON lines.
//!
//! The table: `id`; for each lens `<lens>_score`, `<lens>_<field>` for each of its fields, `<lens>_verdict` where it has
//! verdicts, `<lens>_first` where a cheaper rater went before, and `<lens>_failure`. Its metadata says of which lenses.
//! A line: `{"id":"…","attributes":{"<lens>_score":[[0,1234,2.5]]}}`, whose spans are characters of the document.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde_json::{Map, Value, json};

use super::Error;
use super::folder::Older;
use super::lock::Lock;
use crate::dataset::are_score_lines;
use crate::filter::scores::{Scored, ScoredRow, Scores};
use crate::http::plain;

/// The key of the table's metadata that says which lenses it is of.
pub const METADATA: &str = "classified";

/// Rows that are put into arrays together.
const ROWS: usize = 8 << 10;

/// Rows of a row group.
const GROUP: usize = 128 << 10;

/// What a table says of itself, beside its lenses.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The dataset's name.
    pub dataset: String,
    /// Who rated, and which version, for each lens.
    pub raters: Vec<(String, u32)>,
    /// The cheaper rater that went before, if there was one.
    pub first: Option<String>,
}

/// Writes the scores of rows, as `.NAME.part` beside their place until complete. Dropped unfinished, it removes that. Blocks: for threads that may
/// wait.
#[derive(Debug)]
pub struct ScoresWriter {
    lenses: Vec<Scores>,
    has_first: bool,
    path: PathBuf,
    part: PathBuf,
    form: Form,
    is_finished: bool,
    _lock: Lock,
}

#[derive(Debug)]
enum Form {
    Table { schema: SchemaRef, writer: Option<Box<ArrowWriter<File>>>, rows: Vec<ScoredRow> },
    Lines(Option<Box<Lines>>),
}

/// JSON lines, compressed as the file's name says.
#[derive(Debug)]
enum Lines {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(ZstdEncoder),
}

/// Compresses to zstd.
struct ZstdEncoder(zstd::Encoder<'static, BufWriter<File>>);

impl std::fmt::Debug for ZstdEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ZstdEncoder")
    }
}

impl ScoresWriter {
    /// Begins a file: JSON lines where the name ends in `.jsonl`, `.jsonl.gz` or `.jsonl.zst`, else a table
    /// (`.parquet`). Another ending is an error, and so is a file at `path` that is not such a file.
    ///
    /// A table of the same dataset and lenses is replaced. One of others is an error under [`Older::Keep`], and so are
    /// JSON lines, which do not say what they are of.
    pub fn create(path: &Path, lenses: &[Scores], about: &About, older: Older) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let ending = Ending::of(&name)
            .ok_or_else(|| Error::place(path, "ends in none of .parquet, .jsonl, .jsonl.gz, .jsonl.zst"))?;
        let lock = Lock::take(path, "filter").map_err(Error::of_output)?;
        match There::look(path, ending) {
            There::Nothing => {}
            There::Table { dataset, lenses: there } => {
                let is_same =
                    dataset == about.dataset && there.iter().eq(lenses.iter().map(|lens| &lens.lens));
                if older == Older::Keep && !is_same {
                    let (dataset, there) = (plain(&dataset), plain(&there.join(", ")));
                    let problem = format!(
                        "holds the scores of {dataset} by {there}: give another name with -o, or replace it with --force"
                    );
                    return Err(Error::place(path, problem));
                }
            }
            There::Lines if older == Older::Replace => {}
            There::Lines => {
                let problem = "holds scores, and JSON lines do not say of which dataset: give another name with -o, or \
                               replace it with --force";
                return Err(Error::place(path, problem));
            }
            There::Stranger => {
                let problem = "is no file of scores of this program: move it, or give another name with -o";
                return Err(Error::place(path, problem));
            }
        }
        let part = path.with_file_name(format!(".{name}.part"));
        let file = begin(&part, ending)?;
        let has_first = about.first.is_some();
        let form = match ending {
            Ending::Parquet => {
                let schema = Arc::new(Schema::new(fields(lenses, has_first)));
                let writer = table(file, &schema, metadata(lenses, about));
                let writer = Some(Box::new(writer.map_err(|error| Error::parquet(&part, error))?));
                Form::Table { schema, writer, rows: Vec::new() }
            }
            Ending::Jsonl => Form::Lines(Some(Box::new(Lines::Plain(BufWriter::new(file))))),
            Ending::Gzip => {
                let level = flate2::Compression::default();
                Form::Lines(Some(Box::new(Lines::Gzip(GzEncoder::new(BufWriter::new(file), level)))))
            }
            Ending::Zstd => {
                let encoder = zstd::Encoder::new(BufWriter::new(file), 0).map_err(Error::output(&part))?;
                Form::Lines(Some(Box::new(Lines::Zstd(ZstdEncoder(encoder)))))
            }
        };
        let lenses = lenses.to_vec();
        Ok(Self { lenses, has_first, path: path.to_owned(), part, form, is_finished: false, _lock: lock })
    }

    /// Writes rows. `lengths` has the number of characters of each row's document, for the spans of JSON lines; a
    /// table does not need it.
    pub fn write(&mut self, scored: &[ScoredRow], lengths: &[u64]) -> Result<(), Error> {
        match &mut self.form {
            Form::Table { rows, .. } => {
                rows.extend_from_slice(scored);
                if rows.len() >= ROWS { self.flush() } else { Ok(()) }
            }
            Form::Lines(lines) => {
                let Some(lines) = lines else { return Ok(()) };
                let mut write = || -> io::Result<()> {
                    for (at, row) in scored.iter().enumerate() {
                        let length = lengths.get(at).copied().unwrap_or_default();
                        let attributes = attributes(row, &self.lenses, length);
                        let line = json!({"id": row.id, "attributes": attributes});
                        serde_json::to_writer(&mut *lines, &line)?;
                        lines.write_all(b"\n")?;
                    }
                    Ok(())
                };
                write().map_err(Error::output(&self.part))
            }
        }
    }

    /// Hands the rows that wait to the table.
    fn flush(&mut self) -> Result<(), Error> {
        let Form::Table { schema, writer, rows } = &mut self.form else { return Ok(()) };
        let Some(writer) = writer.as_mut() else { return Ok(()) };
        let rows = std::mem::take(rows);
        let batch = RecordBatch::try_new(Arc::clone(schema), columns(&rows, &self.lenses, self.has_first));
        let batch = batch.map_err(|error| Error::encode(&self.part, &error.to_string()))?;
        writer.write(&batch).map_err(|error| Error::parquet(&self.part, error))
    }

    /// Completes the file, syncs it and gives it its name.
    pub fn finish(mut self) -> Result<(), Error> {
        self.flush()?;
        let file = match &mut self.form {
            Form::Table { writer, .. } => match writer.take() {
                Some(mut writer) => {
                    // Not by `into_inner`, which makes text of the system's error.
                    let file = writer.inner().try_clone().map_err(Error::output(&self.part))?;
                    writer.finish().map_err(|error| Error::parquet(&self.part, error))?;
                    file
                }
                None => return Ok(()),
            },
            Form::Lines(lines) => match lines.take() {
                Some(lines) => lines.finish().map_err(Error::output(&self.part))?,
                None => return Ok(()),
            },
        };
        file.sync_all().map_err(Error::output(&self.part))?;
        fs::rename(&self.part, &self.path).map_err(Error::output(&self.path))?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for ScoresWriter {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = fs::remove_file(&self.part);
        }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Gzip(file) => file.write(bytes),
            Self::Zstd(file) => file.0.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Gzip(file) => file.flush(),
            Self::Zstd(file) => file.0.flush(),
        }
    }
}

impl Lines {
    fn finish(self) -> io::Result<File> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Gzip(file) => file.finish()?,
            Self::Zstd(file) => file.0.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// The form of a file, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Parquet,
    Jsonl,
    Gzip,
    Zstd,
}

impl Ending {
    fn of(name: &str) -> Option<Self> {
        let endings = [
            (".parquet", Self::Parquet),
            (".jsonl", Self::Jsonl),
            (".jsonl.gz", Self::Gzip),
            (".jsonl.zst", Self::Zstd),
        ];
        endings.into_iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, form)| form)
    }
}

/// What is at the place of a file of scores.
#[derive(Debug)]
enum There {
    /// No file, or an empty one.
    Nothing,
    /// A table that we wrote: of which dataset, by which lenses.
    Table { dataset: String, lenses: Vec<String> },
    /// JSON lines that we wrote.
    Lines,
    /// Anything else.
    Stranger,
}

impl There {
    fn look(path: &Path, ending: Ending) -> Self {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(_) if fs::symlink_metadata(path).is_err() => return Self::Nothing,
            Err(_) => return Self::Stranger,
        };
        match file.metadata() {
            Ok(metadata) if metadata.is_file() && metadata.len() == 0 => return Self::Nothing,
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) | Err(_) => return Self::Stranger,
        }
        let lines: Box<dyn Read> = match ending {
            Ending::Parquet => return Self::table(file).unwrap_or(Self::Stranger),
            Ending::Jsonl => Box::new(file),
            Ending::Gzip => Box::new(flate2::read::GzDecoder::new(file)),
            Ending::Zstd => match zstd::Decoder::new(file) {
                Ok(decoder) => Box::new(decoder),
                Err(_) => return Self::Stranger,
            },
        };
        if are_score_lines(lines) { Self::Lines } else { Self::Stranger }
    }

    /// What the metadata of a table of ours says.
    fn table(file: File) -> Option<Self> {
        let footer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            ParquetRecordBatchReaderBuilder::try_new(file)
        }));
        let builder = footer.ok()?.ok()?;
        let pairs = builder.metadata().file_metadata().key_value_metadata()?;
        let value = pairs.iter().find(|pair| pair.key == METADATA)?.value.as_deref()?;
        let about: Value = serde_json::from_str(value).ok().filter(|about: &Value| about["v"] == 1)?;
        let lenses = about["lenses"].as_array()?.iter();
        Some(Self::Table {
            dataset: about["dataset"].as_str().unwrap_or_default().to_owned(),
            lenses: lenses.map(|lens| lens["lens"].as_str().map(str::to_owned)).collect::<Option<_>>()?,
        })
    }
}

/// Opens the file that is written until it is complete. What a killed run of ours left in its place is removed; anything
/// else there is an error, and no link is followed.
fn begin(part: &Path, ending: Ending) -> Result<File, Error> {
    if let Ok(there) = fs::symlink_metadata(part) {
        let magic: &[u8] = match ending {
            Ending::Parquet => b"PAR1",
            Ending::Jsonl => b"{\"id\":",
            Ending::Gzip => &[0x1f, 0x8b],
            Ending::Zstd => &[0x28, 0xb5, 0x2f, 0xfd],
        };
        let mut start = Vec::new();
        let mut read = || File::open(part)?.take(magic.len() as u64).read_to_end(&mut start);
        let is_ours = there.is_file() && read().is_ok() && (start.is_empty() || start == magic);
        if !is_ours {
            let problem =
                "is in the way and no unfinished file of ours: move it, or give another name with -o";
            return Err(Error::place(part, problem));
        }
        fs::remove_file(part).map_err(Error::output(part))?;
    }
    File::create_new(part).map_err(Error::output(part))
}

fn table(
    file: File,
    schema: &SchemaRef,
    metadata: String,
) -> Result<ArrowWriter<File>, parquet::errors::ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(GROUP))
        .set_key_value_metadata(Some(vec![KeyValue { key: METADATA.to_owned(), value: Some(metadata) }]))
        .build();
    ArrowWriter::try_new(file, Arc::clone(schema), Some(properties))
}

/// What the table says of itself.
fn metadata(lenses: &[Scores], about: &About) -> String {
    let lenses: Vec<Value> = lenses
        .iter()
        .enumerate()
        .map(|(at, lens)| {
            let (model, version) = about.raters.get(at).map_or((None, None), |(m, v)| (Some(m), Some(v)));
            json!({
                "lens": lens.lens,
                "fields": lens.fields,
                "low": lens.scale.map(|scale| scale.0),
                "high": lens.scale.map(|scale| scale.1),
                "verdicts": lens.has_verdicts,
                "model": model,
                "version": version,
            })
        })
        .collect();
    json!({"v": 1, "lenses": lenses, "dataset": about.dataset, "first": about.first}).to_string()
}

/// The columns of the table, in the order of [`columns`].
fn fields(lenses: &[Scores], has_first: bool) -> Vec<Field> {
    let mut fields = vec![Field::new("id", DataType::Utf8, false)];
    for lens in lenses {
        let mut add = |what: &str, kind| fields.push(Field::new(format!("{}_{what}", lens.lens), kind, true));
        add("score", DataType::Float64);
        lens.fields.iter().for_each(|field| add(field, DataType::Float64));
        if has_first {
            add("first", DataType::Float64);
        }
        if lens.has_verdicts {
            add("verdict", DataType::Utf8);
        }
        add("failure", DataType::Utf8);
    }
    fields
}

fn columns(rows: &[ScoredRow], lenses: &[Scores], has_first: bool) -> Vec<ArrayRef> {
    fn doubles<'a>(rows: impl Iterator<Item = Option<f64>> + 'a) -> ArrayRef {
        Arc::new(rows.collect::<Float64Array>())
    }
    fn texts<'a>(rows: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
        Arc::new(rows.collect::<StringArray>())
    }
    let mut columns: Vec<ArrayRef> =
        vec![Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.id)))];
    for (at, lens) in lenses.iter().enumerate() {
        let scored = || rows.iter().map(move |row| row.lenses.get(at));
        columns.push(doubles(scored().map(|scored| match scored? {
            Scored::Rated { score, .. } => Some(*score),
            Scored::Screened(_) | Scored::Unrated(_) => None,
        })));
        for field in 0..lens.fields.len() {
            columns.push(doubles(scored().map(|scored| match scored? {
                Scored::Rated { fields, .. } => fields.get(field).copied(),
                Scored::Screened(_) | Scored::Unrated(_) => None,
            })));
        }
        if has_first {
            columns.push(doubles(scored().map(|scored| match scored? {
                Scored::Screened(first) => Some(*first),
                Scored::Rated { .. } | Scored::Unrated(_) => None,
            })));
        }
        if lens.has_verdicts {
            columns.push(texts(scored().map(|scored| match scored? {
                Scored::Rated { verdict, .. } => verdict.map(crate::lens::Verdict::name),
                Scored::Screened(_) | Scored::Unrated(_) => None,
            })));
        }
        columns.push(texts(scored().map(|scored| match scored? {
            Scored::Unrated(why) => Some(why.as_str()),
            Scored::Rated { .. } | Scored::Screened(_) => None,
        })));
    }
    columns
}

/// A row's scores as attributes of a document of `length` characters.
fn attributes(row: &ScoredRow, lenses: &[Scores], length: u64) -> Map<String, Value> {
    let mut attributes = Map::new();
    for (lens, scored) in lenses.iter().zip(&row.lenses) {
        let mut add = |what: &str, score: f64| {
            attributes.insert(format!("{}_{what}", lens.lens), json!([[0, length, score]]))
        };
        match scored {
            Scored::Rated { score, fields, .. } => {
                add("score", *score);
                for (field, score) in lens.fields.iter().zip(fields) {
                    add(field, *score);
                }
            }
            Scored::Screened(first) => drop(add("first", *first)),
            Scored::Unrated(_) => {}
        }
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lens::Verdict;
    use crate::record::cell::cell;

    fn lenses() -> Vec<Scores> {
        vec![
            Scores {
                lens: "quality".into(),
                fields: vec!["factual".into(), "overall".into()],
                scale: Some((1.0, 3.0)),
                has_verdicts: true,
            },
            Scores { lens: "fun".into(), fields: vec![], scale: None, has_verdicts: false },
        ]
    }

    fn rows() -> Vec<ScoredRow> {
        let rated = |score, verdict| Scored::Rated {
            score,
            fields: vec![score - 0.5, score],
            verdict: Some(verdict),
        };
        let fun = |score| Scored::Rated { score, fields: vec![], verdict: None };
        vec![
            ScoredRow { id: "f#0".into(), lenses: vec![rated(2.5, Verdict::Medium), fun(7.0)] },
            ScoredRow {
                id: "f#1".into(),
                lenses: vec![Scored::Screened(1.25), Scored::Unrated("empty: x".into())],
            },
        ]
    }

    fn about() -> About {
        About {
            dataset: "d".into(),
            raters: vec![("m".into(), 1), ("heuristic".into(), 2)],
            first: Some("heuristic:1.5".into()),
        }
    }

    fn write(path: &Path) {
        let mut writer = ScoresWriter::create(path, &lenses(), &about(), Older::Replace).unwrap();
        writer.write(&rows(), &[10, 20]).unwrap();
        writer.finish().unwrap();
    }

    #[test]
    fn a_table_has_a_column_for_each_field_and_says_of_which_lenses_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.parquet");
        write(&path);
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
        insta::assert_snapshot!(reader.schema().metadata()[METADATA], @r#"{"v":1,"lenses":[{"lens":"quality","fields":["factual","overall"],"low":1.0,"high":3.0,"verdicts":true,"model":"m","version":1},{"lens":"fun","fields":[],"low":null,"high":null,"verdicts":false,"model":"heuristic","version":2}],"dataset":"d","first":"heuristic:1.5"}"#);
        let batch = reader.build().unwrap().next().unwrap().unwrap();
        let rows: Vec<_> =
            (0..2)
                .map(|row| {
                    let cells =
                        batch.schema_ref().fields().iter().zip(batch.columns()).map(|(field, column)| {
                            format!("{}={}", field.name(), cell(column, row).unwrap())
                        });
                    cells.collect::<Vec<_>>().join(" ")
                })
                .collect();
        insta::assert_snapshot!(rows.join("\n"), @r#"
        id="f#0" quality_score=2.5 quality_factual=2.0 quality_overall=2.5 quality_first=null quality_verdict="Medium" quality_failure=null fun_score=7.0 fun_first=null fun_failure=null
        id="f#1" quality_score=null quality_factual=null quality_overall=null quality_first=1.25 quality_verdict=null quality_failure=null fun_score=null fun_first=null fun_failure="empty: x"
        "#);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "neither .part nor lock is left");
    }

    #[test]
    fn lines_have_spans_of_characters_however_they_are_compressed() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["s.jsonl", "s.jsonl.gz", "s.jsonl.zst"] {
            let path = folder.path().join(name);
            write(&path);
            let file = File::open(&path).unwrap();
            let mut text = String::new();
            let mut reader: Box<dyn Read> = match Ending::of(name).unwrap() {
                Ending::Gzip => Box::new(flate2::read::GzDecoder::new(file)),
                Ending::Zstd => Box::new(zstd::Decoder::new(file).unwrap()),
                _ => Box::new(file),
            };
            reader.read_to_string(&mut text).unwrap();
            insta::allow_duplicates! { insta::assert_snapshot!(text, @r#"
            {"id":"f#0","attributes":{"quality_score":[[0,10,2.5]],"quality_factual":[[0,10,2.0]],"quality_overall":[[0,10,2.5]],"fun_score":[[0,10,7.0]]}}
            {"id":"f#1","attributes":{"quality_first":[[0,20,1.25]]}}
            "#) };
            // Ours can be written anew.
            write(&path);
        }
    }

    #[test]
    fn a_file_of_something_else_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["x.parquet", "x.jsonl", "x.jsonl.gz", "x.jsonl.zst"] {
            let path = folder.path().join(name);
            fs::write(&path, "{\"text\":\"mine\"}\n").unwrap();
            let error = ScoresWriter::create(&path, &lenses(), &about(), Older::Keep).unwrap_err();
            assert!(error.to_string().contains("is no file of scores"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), b"{\"text\":\"mine\"}\n");
        }
        let error =
            ScoresWriter::create(&folder.path().join("x.csv"), &lenses(), &about(), Older::Keep).unwrap_err();
        assert!(error.is_usage());
    }

    #[test]
    fn scores_of_another_dataset_or_lens_are_replaced_only_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.parquet");
        write(&path);
        let create = |path: &Path, lenses: &[Scores], about: &About, older| {
            ScoresWriter::create(path, lenses, about, older).map(drop)
        };
        create(&path, &lenses(), &about(), Older::Keep).unwrap();
        let other = About { dataset: "e".into(), ..about() };
        let message = create(&path, &lenses(), &other, Older::Keep).unwrap_err().to_string();
        assert!(message.contains("holds the scores of d by quality, fun: ") && message.contains("--force"));
        assert!(create(&path, &lenses()[1..], &about(), Older::Keep).unwrap_err().is_usage());
        create(&path, &lenses()[1..], &other, Older::Replace).unwrap();
        let lines = folder.path().join("s.jsonl");
        write(&lines);
        let message = create(&lines, &lenses(), &about(), Older::Keep).unwrap_err().to_string();
        assert!(message.contains("--force"), "{message}");
        create(&lines, &lenses(), &about(), Older::Replace).unwrap();
        // Attributes that another tool wrote are a stranger's.
        let dolma = "{\"id\":\"a\",\"attributes\":{\"tagger__en\":[[0,1,0.5]]}}\n";
        fs::write(&lines, dolma).unwrap();
        create(&lines, &lenses(), &about(), Older::Replace).unwrap_err();
    }

    #[test]
    fn a_strangers_unfinished_file_stays_and_what_a_killed_run_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for (name, left) in
            [("s.parquet", "PAR1 rows"), ("s.jsonl", "{\"id\":\"a#0\",\"attr"), ("t.jsonl", "")]
        {
            let path = folder.path().join(name);
            fs::write(folder.path().join(format!("{name}.part")), "mine").unwrap();
            let part = folder.path().join(format!(".{name}.part"));
            fs::write(&part, "mine").unwrap();
            let create = || ScoresWriter::create(&path, &lenses(), &about(), Older::Replace);
            assert!(create().unwrap_err().to_string().contains("in the way"));
            assert_eq!(fs::read(&part).unwrap(), b"mine");
            fs::write(&part, left).unwrap();
            write(&path);
            assert!(!part.exists());
            assert_eq!(fs::read(folder.path().join(format!("{name}.part"))).unwrap(), b"mine");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_link_in_the_place_of_the_unfinished_file_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("s.parquet"), folder.path().join("victim"));
        for content in [None, Some("PAR1 mine")] {
            if let Some(content) = content {
                fs::write(&victim, content).unwrap();
            }
            let part = folder.path().join(".s.parquet.part");
            std::os::unix::fs::symlink(&victim, &part).unwrap();
            ScoresWriter::create(&path, &lenses(), &about(), Older::Replace).unwrap_err();
            assert_eq!(fs::read_to_string(&victim).ok().as_deref(), content);
            fs::remove_file(&part).unwrap();
        }
    }

    #[test]
    fn an_unfinished_file_is_gone_and_the_older_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.parquet");
        write(&path);
        let older = fs::read(&path).unwrap();
        let mut writer = ScoresWriter::create(&path, &lenses(), &about(), Older::Keep).unwrap();
        assert!(matches!(
            ScoresWriter::create(&path, &lenses(), &about(), Older::Keep),
            Err(Error::Busy { .. })
        ));
        writer.write(&rows(), &[]).unwrap();
        drop(writer);
        assert_eq!(fs::read(&path).unwrap(), older);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
