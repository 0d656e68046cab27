//! The parsers over a small corpus, whole, cut and mutated.

use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;

/// Marsaglia's xorshift: the same mutations on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// Runs a parser over the seeds, every beginning of them, and mutations.
fn exercise(parser: fn(&[u8]), seeds: &[&[u8]]) {
    const MUTATIONS: usize = 300;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for seed in seeds {
        (0..=seed.len()).step_by(seed.len() / 100 + 1).for_each(|end| parser(&seed[..end]));
        for _ in 0..MUTATIONS {
            let mut bytes = seed.to_vec();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                match random.below(4) {
                    0 => bytes[at] ^= 1 << random.below(8),
                    1 => bytes[at] = b"\0\xff{}[]\",:\\\n"[random.below(11)],
                    2 => bytes.insert(at, bytes[at]),
                    _ if bytes.len() > 1 => drop(bytes.remove(at)),
                    _ => {}
                }
            }
            parser(&bytes);
        }
    }
}

#[test]
fn no_text_makes_a_parser_panic_or_go_on_for_ever() {
    let rows = br#"[{"text": "a\"}", "a": {"b": 1.5}}, {"text": null}, 17]"#.as_slice();
    let field = br#"{"version": [1, {}], "rows": [{"text": "x"}, {"a": {"b": "\u00e9"}}]}"#.as_slice();
    let objects = b"{\"text\": \"a\"}\n{\"a\":\n {\"b\": []}}\n{}".as_slice();
    let table = b"text,a.b,\"c\nd\"\n1,\"x \"\"y\"\"\",3\r\n\n,,\n".as_slice();
    exercise(lines, &[objects, rows]);
    exercise(json, &[rows, field, objects]);
    exercise(csv, &[table, rows]);
    exercise(text, &[b"\xef\xbb\xbfa\n\nb\r\n\r\n\r\nc", objects]);
}

#[test]
fn no_card_and_no_name_makes_a_reader_panic_or_go_on_for_ever() {
    let configs = b"---\nconfigs:\n- config_name: x\n  data_dir: b\n  data_files:\n  - split: test\n    path: ['**/*.gz', 'a[!b].csv']\n---\n";
    let info = b"---\ndataset_info: &a\n- {config_name: no, splits: [*a]}\n---\n".as_slice();
    exercise(card, &[configs, info, &configs[4..]]);
    exercise(
        name,
        &[
            b"owner/name@main",
            b"hf://datasets/o/n@refs%2Fpr%2F1/a/b",
            b"https://huggingface.co/datasets/o/n/blob/main/x",
        ],
    );
}

#[test]
fn no_compressed_stream_makes_a_decoder_panic_or_go_on_for_ever() {
    let content = b"one line\nand one line\nand one line more\n".repeat(3);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&content).unwrap();
    let zstd = zstd::encode_all(content.as_slice(), 1).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
    xz.write_all(&content).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&content).unwrap();
    let seeds = [gzip.finish().unwrap(), zstd, xz.finish().unwrap(), bzip2.finish().unwrap()];
    exercise(unpack, &seeds.each_ref().map(Vec::as_slice));
}

#[test]
fn no_arrow_stream_and_no_parquet_footer_makes_a_reader_panic_or_go_on_for_ever() {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use arrow::ipc::writer::StreamWriter;
    let text: ArrayRef = std::sync::Arc::new(StringArray::from(vec![Some("a"), None]));
    let number: ArrayRef = std::sync::Arc::new(Int64Array::from(vec![1, 2]));
    let batch =
        RecordBatch::try_from_iter_with_nullable([("text", text, true), ("n", number, true)]).unwrap();
    let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    stream.write(&batch).unwrap();
    exercise(arrow, &[&stream.into_inner().unwrap()]);

    let mut file = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    file.write(&batch).unwrap();
    let file = file.into_inner().unwrap();
    let tail = file.len() - 8;
    let length = u32::from_le_bytes(file[tail..tail + 4].try_into().unwrap());
    exercise(footer, &[&file[tail - usize::try_from(length).unwrap()..tail]]);
}
