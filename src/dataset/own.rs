//! Files of scores that this program wrote: in a folder that is given as a dataset they are no data.

use super::layout::{self, Format};
use super::sequence::decompressed;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::Path;

/// How much of a file's beginning, or of a table's footer, is looked at, in bytes.
const LOOK: u64 = 64 << 10;

/// How each line of scores begins.
const LINE: &[u8] = b"{\"id\":\"";

/// What the footer of a table of scores has among its metadata: the key in Thrift's compact protocol, as field 1 of a
/// `KeyValue`, and the head of field 2 (parquet-format 2.12, `parquet.thrift`).
const KEY: &[u8] = b"\x18\x0aclassified\x18";

/// How that key's value begins.
const TABLE: &[u8] = b"{\"v\":1,\"lenses\":[";

/// A line of scores in the manner of Dolma, of one span each.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(rename = "id")]
    _id: String,
    attributes: BTreeMap<String, [(u64, u64, f64); 1]>,
}

impl Line {
    /// Spans of whole documents, among them a lens's score, or that of a cheaper rater before it.
    fn is_ours(&self) -> bool {
        let is_score = |name: &String| name.ends_with("_score") || name.ends_with("_first");
        self.attributes.values().all(|[(start, ..)]| *start == 0)
            && (self.attributes.is_empty() || self.attributes.keys().any(is_score))
    }
}

/// Whether these JSON lines are scores that this program wrote, as far as their beginning tells.
pub fn are_score_lines(mut lines: impl Read) -> bool {
    let mut start = Vec::new();
    let read = lines.by_ref().take(LINE.len() as u64).read_to_end(&mut start);
    if read.is_err() || start != LINE || lines.take(LOOK).read_to_end(&mut start).is_err() {
        return false;
    }
    // The last line may go on beyond what was read.
    let Some(end) = memchr::memrchr(b'\n', &start) else { return false };
    let mut lines = start[..end].split(|byte| *byte == b'\n');
    lines.all(|line| serde_json::from_slice::<Line>(line).is_ok_and(|line| line.is_ours()))
}

/// Whether a parquet file is a table of scores that this program wrote. Its footer is not decoded: it may be anybody's.
fn is_score_table(file: &mut File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let mut footer = Vec::new();
    let Some(start) = length.checked_sub(LOOK.min(length)) else { return Ok(false) };
    file.seek(SeekFrom::Start(start))?;
    file.take(LOOK).read_to_end(&mut footer)?;
    let Some((footer, tail)) = footer.split_last_chunk::<8>() else { return Ok(false) };
    let [a, b, c, d, mark @ ..] = *tail;
    let own = u32::from_le_bytes([a, b, c, d]) as usize;
    let footer = footer.get(footer.len().saturating_sub(own)..).unwrap_or_default();
    let Some(key) = memchr::memmem::find(footer, KEY) else { return Ok(false) };
    // Between the two is the value's length, a varint of at most ten bytes.
    let value = footer.get(key + KEY.len()..).unwrap_or_default();
    let value = value.get(..value.len().min(10 + TABLE.len())).unwrap_or_default();
    Ok(&mark == b"PAR1" && memchr::memmem::find(value, TABLE).is_some())
}

/// Whether the file at `path` holds scores that this program wrote, as a table or as JSON lines, compressed or not.
pub(super) fn is_scores(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Ok(mut file) = File::open(path) else { return false };
    match layout::format_of(&name) {
        Ok((Format::Parquet, _)) => is_score_table(&mut file).unwrap_or(false),
        Ok((Format::Jsonl | Format::Json, _)) => {
            decompressed(Box::new(file), &name).is_ok_and(are_score_lines)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_ours_only_if_all_of_them_are_scores_of_whole_documents() {
        let ours = [
            "{\"id\":\"a#0\",\"attributes\":{\"quality_score\":[[0,12,2.5]],\"quality_factual\":[[0,12,2.0]]}}\n",
            "{\"id\":\"a#0\",\"attributes\":{}}\n{\"id\":\"a#1\",\"attributes\":{\"q_first\":[[0,0,1.0]]}}\n",
            "{\"id\":\"a#0\",\"attributes\":{}}\n{\"id\":\"a#1\",\"attributes\":{\"q_first\":[[0,",
        ];
        for text in ours {
            assert!(are_score_lines(text.as_bytes()), "{text}");
        }
        let others = [
            "",
            "{\"id\":\"a\"",
            "{\"id\":\"a#0\",\"attributes\":{}}",
            "{\"id\":\"a\",\"attributes\":{\"lang\":\"en\"}}\n",
            "{\"id\":\"a\",\"attributes\":{\"tagger__lang__en\":[[0,12,0.9]]}}\n",
            "{\"id\":\"a\",\"attributes\":{\"q_score\":[[0,4,0.9],[4,12,0.1]]}}\n",
            "{\"id\":\"a\",\"attributes\":{\"q_score\":[[3,12,0.9]]}}\n",
            "{\"id\":\"a\",\"attributes\":{},\"text\":\"words\"}\n",
            "{\"id\":\"a\",\"attributes\":{}}\n{\"id\":\"b\",\"attributes\":{\"lang\":\"en\"}}\n",
            "{\"id\": \"a\",\"attributes\":{}}\nnonsense\n",
        ];
        for text in others {
            assert!(!are_score_lines(text.as_bytes()), "{text}");
        }
        let long = format!("{{\"id\":\"{}\",\"attributes\":{{}}}}\n", "x".repeat(100 << 10));
        assert!(!are_score_lines(long.as_bytes()));
    }

    #[test]
    fn bytes_that_only_end_as_a_table_are_not_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        let mut own = b"PAR1 rows".to_vec();
        own.extend_from_slice(&[KEY, b"\x50", TABLE].concat());
        let footer = u32::try_from(own.len()).unwrap() - 9;
        let with = |footer: u32, mark: &[u8]| [&own[..], &footer.to_le_bytes(), mark].concat();
        let cases = [
            (with(footer, b"PAR1"), true),
            (with(footer, b"PARE"), false),
            // Among the rows, not in the footer.
            (with(4, b"PAR1"), false),
            (with(u32::MAX, b"PAR1"), true),
            (b"PAR1".to_vec(), false),
            (Vec::new(), false),
        ];
        for (bytes, is_ours) in cases {
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(is_scores(&path), is_ours, "{bytes:?}");
        }
    }
}
