//! `summary.csv`: the original's columns first, then ours; a row per part of a dataset, lens, model and version.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::Error;
use crate::rating::summary::{Inference, Summary};
use crate::stats::Interval;

/// The header. The first seven names are the original tool's.
const HEADER: [&str; 21] = [
    "Dataset",
    "Lens",
    "Poor",
    "Low",
    "Medium",
    "Good",
    "Total",
    "Model",
    "Version",
    "Score",
    "ScoreLow",
    "ScoreHigh",
    "Rows",
    "Failed",
    "Empty",
    "NotReached",
    "Cost",
    "Population",
    "Config",
    "Split",
    "Revision",
];

/// Columns that say which run of which part of a dataset a row is of. An older file has fewer columns.
const KEY: [usize; 6] = [0, 1, 7, 8, 18, 19];

/// Writes the rows of `summaries`, in place of earlier rows of the same dataset, config, split, lens, model and version. Returns the
/// file's path.
pub fn write(data_dir: &Path, summaries: &[Summary]) -> Result<PathBuf, Error> {
    fs::create_dir_all(data_dir).map_err(Error::write(data_dir))?;
    let path = data_dir.join("summary.csv");
    // Two runs that end together must not lose each other's rows. Where files cannot be locked the last one wins.
    let lock_path = data_dir.join(".summary.csv.lock");
    let lock = File::create(&lock_path).map_err(Error::write(&lock_path))?;
    let _ = lock.lock();

    let new: Vec<Vec<String>> = summaries.iter().map(row).collect();
    let mut rows = read(&path)?;
    let cell = |row: &[String], at: usize| row.get(at).cloned().unwrap_or_default();
    rows.retain(|old| !new.iter().any(|new| KEY.iter().all(|&at| cell(old, at) == cell(new, at))));
    rows.extend(new);

    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    let csv_error = |error: csv::Error| Error::Write { path: path.clone(), source: error.into() };
    writer.write_record(HEADER).map_err(csv_error)?;
    for row in rows {
        writer.write_record(&row).map_err(csv_error)?;
    }
    let bytes = writer
        .into_inner()
        .map_err(|error| Error::Write { path: path.clone(), source: error.into_error() })?;
    let part = data_dir.join(".summary.csv.part");
    fs::write(&part, bytes).map_err(Error::write(&part))?;
    fs::rename(&part, &path).map_err(Error::write(&path))?;
    Ok(path)
}

/// The rows of an earlier file, whoever wrote it.
fn read(path: &Path) -> Result<Vec<Vec<String>>, Error> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = fs::read(path).map_err(Error::write(path))?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(&bytes[..]);
    let mut rows = Vec::new();
    for record in reader.byte_records() {
        let record = record.map_err(|error| Error::Write { path: path.to_owned(), source: error.into() })?;
        rows.push(record.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect());
    }
    Ok(rows)
}

fn row(summary: &Summary) -> Vec<String> {
    let ledger = &summary.ledger;
    let shares = [0, 1, 2, 3].map(|verdict| {
        summary.share(verdict).0.map_or(String::new(), |share| format!("{:.2}%", share * 100.0))
    });
    let overall = summary.scores.get(summary.overall).map(|(_, mean)| mean);
    let interval = summary.mean_interval(summary.overall);
    let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.4}"));
    let [poor, low, medium, good] = shares;
    vec![
        text(&summary.dataset),
        text(&summary.lens),
        poor,
        low,
        medium,
        good,
        ledger.answered().to_string(),
        text(&summary.model),
        summary.version.to_string(),
        number(overall.and_then(crate::stats::Mean::mean)),
        number(interval.map(|Interval { low, .. }| low)),
        number(interval.map(|Interval { high, .. }| high)),
        ledger.rows.map_or(String::new(), |rows| rows.to_string()),
        ledger.all_failed().to_string(),
        ledger.empty.to_string(),
        ledger.not_reached().map_or(String::new(), |rows| rows.to_string()),
        summary.usage.cost.map_or(String::new(), |cost| cost.dollars().to_string()),
        // Empty where nothing is inferred beyond the rows that were drawn.
        match summary.inference {
            Inference::Population(rows) | Inference::Beginning(rows) => rows.to_string(),
            Inference::Census | Inference::TwoStages { .. } | Inference::Head | Inference::Unfinished => {
                String::new()
            }
        },
        text(summary.part.config.as_deref().unwrap_or_default()),
        text(summary.part.split.as_deref().unwrap_or_default()),
        text(summary.part.revision.as_deref().unwrap_or_default()),
    ]
}

/// A cell that a spreadsheet would take for a formula begins with a quote instead
/// (<https://owasp.org/www-community/attacks/CSV_Injection>).
fn text(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        format!("'{cell}")
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_starts_a_formula() {
        for cell in ["=1+1", "+1", "-1", "@x", "\tx"] {
            assert!(text(cell).starts_with('\''), "{cell}");
        }
        assert_eq!(text("vikp/textbooks"), "vikp/textbooks");
    }

    #[test]
    fn rows_of_the_original_tool_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("summary.csv"),
            "Dataset,Lens,Poor,Low,Medium,Good,Total\nold/one,textbook_quality,0.00%,8.70%,26.09%,65.22%,23",
        )
        .unwrap();
        let path = write(folder.path(), &[]).unwrap();
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with("Dataset,Lens,Poor,Low,Medium,Good,Total,Model,Version"));
        assert!(text.contains("old/one,textbook_quality,0.00%,8.70%,26.09%,65.22%,23"));
    }
}
