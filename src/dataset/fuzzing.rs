//! The hand-written parsers of this room, for fuzzers: any bytes are read to an end, without a panic.
//!
//! `fuzz/` runs them under libFuzzer, and the tests here over a small corpus and mutations of it.

use super::layout;
use super::parquet::footer;
use super::sequence::{Input, Kind, Sequence, Unit, decompressed, look};
use crate::hub;
use std::io::{Cursor, Read as _};

/// JSON lines.
pub fn lines(bytes: &[u8]) {
    sequence(&Kind::Jsonl, bytes);
}

/// A file of JSON, with and without a field.
pub fn json(bytes: &[u8]) {
    sequence(&Kind::Json { field: None }, bytes);
    sequence(&Kind::Json { field: Some("rows".into()) }, bytes);
}

/// Separated values.
pub fn csv(bytes: &[u8]) {
    sequence(&Kind::Csv { separator: b',' }, bytes);
}

/// Plain text, in each unit.
pub fn text(bytes: &[u8]) {
    for by in [Unit::Line, Unit::Paragraph, Unit::Document] {
        sequence(&Kind::Text { by }, bytes);
    }
}

/// The frame of an Arrow stream or file.
pub fn arrow(bytes: &[u8]) {
    sequence(&Kind::Arrow, bytes);
}

/// Decompression.
pub fn unpack(bytes: &[u8]) {
    const MOST: u64 = 1 << 24;
    if let Ok(unpacked) = decompressed(input(bytes), "x") {
        let _ = unpacked.take(MOST).read_to_end(&mut Vec::new());
    }
}

/// The walk through a parquet footer.
pub fn footer(bytes: &[u8]) {
    let _ = footer::check(bytes);
}

/// A dataset's card, and the files that it divides.
pub fn card(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let files =
        ["data/train-00000-of-00001.parquet", "a.csv", "b/test/c.jsonl.gz", ".x/d.txt"].map(str::to_owned);
    for card in [layout::card(Some(&text), None), layout::card(None, Some(&text))].into_iter().flatten() {
        let layout = layout::layout(&card, &files);
        for config in layout.configs() {
            if let Ok(config) = layout.choose(Some(config)) {
                let _ = config.split(Some("all"));
            }
        }
        let _ = (layout.choose(None), card.folders(None));
    }
}

/// The name of a dataset at the Hub.
pub fn name(bytes: &[u8]) {
    let _ = hub::Name::parse(&String::from_utf8_lossy(bytes), hub::ENDPOINT);
}

fn input(bytes: &[u8]) -> Input {
    Box::new(Cursor::new(bytes.to_vec()))
}

/// Reads all rows, after a look at the first ones.
fn sequence(kind: &Kind, bytes: &[u8]) {
    let columns = ["text".to_owned(), "a.b".to_owned()];
    if let Ok(mut sequence) = Sequence::open(kind, input(bytes)) {
        let _ = look(&mut sequence, &columns);
    }
    let Ok(mut sequence) = Sequence::open(kind, input(bytes)) else { return };
    sequence.want(&columns);
    let mut rows = 0_usize;
    while let Ok(true) = sequence.advance() {
        rows += 1;
        // Rows of no bytes are many: the first ones are like the others.
        if rows <= 1_000 {
            let _ = sequence.roots(&columns);
            let _ = sequence.row();
        }
    }
}

#[cfg(test)]
mod tests;
