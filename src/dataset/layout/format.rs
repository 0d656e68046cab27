//! Suffixes of file names: which format, which compression.
//!
//! The names of formats and their suffixes are those of the `datasets` library, version 5.2. Those that this
//! program does not read are known too, because they decide which format a folder is in.

use super::Fault;
use crate::dataset::error::plain;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The formats that are read, for messages.
pub(super) const READ: &str = "parquet, JSON lines, JSON, CSV, TSV, text and Arrow";

/// How the rows of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dataset) enum Format {
    /// `.parquet`, `.geoparquet`, `.gpq`.
    Parquet,
    /// `.jsonl`, `.ndjson`: an object a line.
    Jsonl,
    /// `.json`: an array of objects, or objects one after another.
    Json,
    /// `.csv` with a comma, `.tsv` with a tab, unless the card names another separator.
    Csv {
        /// What stands between two cells.
        separator: u8,
    },
    /// `.txt`.
    Text,
    /// `.arrow`: an IPC stream or an IPC file.
    Arrow,
}

/// How a file is compressed, by its last suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dataset) enum Compression {
    /// Not at all.
    None,
    /// `.gz`.
    Gzip,
    /// `.zst`.
    Zstd,
    /// `.bz2`.
    Bzip2,
    /// `.xz`.
    Xz,
}

/// The kind of files that a config is made of: a reader of the `datasets` library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dataset) enum Module {
    /// Parquet files.
    Parquet,
    /// JSON lines and JSON.
    Json,
    /// Comma-separated files first of all; also tab-separated ones.
    Csv,
    /// Tab-separated files first of all; also comma-separated ones.
    Tsv,
    /// Lines of text.
    Text,
    /// Arrow IPC.
    Arrow,
    /// A kind that is not read, by its name: `webdataset`, `imagefolder`.
    Other(&'static str),
}

const MODULES: [(Module, &str); 27] = [
    (Module::Csv, "csv"),
    (Module::Tsv, "tsv"),
    (Module::Json, "json jsonl ndjson"),
    (Module::Parquet, "parquet geoparquet gpq"),
    (Module::Arrow, "arrow"),
    (Module::Text, "txt"),
    (Module::Other("conll"), "conll"),
    (Module::Other("conllu"), "conllu"),
    (Module::Other("webdataset"), "tar"),
    (Module::Other("xml"), "xml"),
    (Module::Other("hdf5"), "hdf5 h5"),
    (Module::Other("eval"), "eval"),
    (Module::Other("harbor"), "toml md"),
    (Module::Other("lance"), "lance"),
    (Module::Other("tsfile"), "tsfile"),
    (Module::Other("vortex"), "vortex"),
    (Module::Other("fasta"), "fa fasta fna ffn faa frn afa"),
    (Module::Other("genbank"), "gb gbk genbank"),
    (Module::Other("fastq"), "fq fastq"),
    (Module::Other("mmcif"), "cif mmcif"),
    (Module::Other("pdb"), "pdb ent"),
    (
        Module::Other("imagefolder"),
        "blp bmp dib bufr cur pcx dcx dds ps eps fit fits fli flc ftc ftu gbr gif grib png apng jp2 j2k jpc jpf jpx \
         j2c icns ico im iim tif tiff jfif jpe jpg jpeg msp pcd pxr pbm pgm ppm pnm psd bw rgb rgba sgi ras tga icb \
         vda vst webp wmf emf xbm xpm",
    ),
    (
        Module::Other("audiofolder"),
        "mpg aiff au avr caf flac htk svx mat4 mat5 mpc2k ogg paf pvf raw rf64 sd2 sds ircam voc w64 wav nist wavex \
         wve xi mp3 opus 3gp 3g2 asf flv m4v webm f4v wmv wma ogm mxf nut",
    ),
    (Module::Other("videofolder"), "mpeg avi mp4 mov mkv"),
    (Module::Other("meshfolder"), "glb gltf ply stl"),
    (Module::Other("pdffolder"), "pdf"),
    (Module::Other("niftifolder"), "nii"),
];

/// Modules whose suffixes are known in capitals too.
const CAPITALS: [&str; 7] =
    ["pdb", "imagefolder", "audiofolder", "videofolder", "meshfolder", "pdffolder", "niftifolder"];

/// Suffixes that go with data without being data: archives, and what Lance keeps beside its files.
const BESIDE: [&str; 4] = ["zip", "idx", "txn", "manifest"];

static BY_SUFFIX: LazyLock<HashMap<&str, Module>> = LazyLock::new(|| {
    let pairs = |&(module, suffixes): &(Module, &'static str)| {
        suffixes.split_whitespace().map(move |suffix| (suffix, module))
    };
    MODULES.iter().flat_map(pairs).collect()
});

impl Module {
    /// The module of files with this suffix (lower case, without a dot).
    pub(super) fn of(suffix: &str) -> Option<Self> {
        BY_SUFFIX.get(suffix).copied()
    }

    /// Its name in the `datasets` library.
    pub(in crate::dataset) fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Json => "json",
            Self::Csv | Self::Tsv => "csv",
            Self::Text => "text",
            Self::Arrow => "arrow",
            Self::Other("conllu") => "conll",
            Self::Other(name) => name,
        }
    }

    /// Whether this program reads it.
    pub(in crate::dataset) fn is_read(self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// Whether a file of this name belongs to a config of this module: `a.csv`, `a.csv.gz`; archives always do.
    pub(super) fn takes(self, path: &str) -> bool {
        let is_own = |suffix| Self::of(suffix).is_some_and(|module| module.name() == self.name());
        suffixes(path).next_back() == Some("zip") || suffixes(path).any(is_own)
    }
}

/// Whether `suffix`, as it is written, is one that data files have.
pub(super) fn is_known(suffix: &str) -> bool {
    let capitals = || {
        let module = Module::of(&suffix.to_ascii_lowercase());
        module.is_some_and(|module| CAPITALS.contains(&module.name()))
            && suffix.bytes().all(|byte| !byte.is_ascii_lowercase())
    };
    BESIDE.contains(&suffix) || BY_SUFFIX.contains_key(suffix) || capitals()
}

/// The file's name without its folders.
pub(super) fn base(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, base)| base)
}

/// What follows each dot of the file's name, from front to back.
pub(super) fn suffixes(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    base(path).split_once('.').into_iter().flat_map(|(_, suffixes)| suffixes.split('.'))
}

/// How a file is written and compressed, by the suffixes of its name in any case: the last one may name a
/// compression, the next known one before it names the format.
pub(in crate::dataset) fn format_of(path: &str) -> Result<(Format, Compression), Fault> {
    named(path, None)
}

/// As [`format_of`], but of the suffixes that belong to `module`, if one is given.
pub(super) fn named(path: &str, module: Option<Module>) -> Result<(Format, Compression), Fault> {
    let unsupported =
        |suffix: &str| Fault::Unsupported { what: format!("`{}` (.{suffix})", plain(base(path))) };
    let mut compression = Compression::None;
    for (at, suffix) in suffixes(path).rev().enumerate() {
        let suffix = suffix.to_lowercase();
        match suffix.as_str() {
            "gz" if at == 0 => compression = Compression::Gzip,
            "zst" if at == 0 => compression = Compression::Zstd,
            "bz2" if at == 0 => compression = Compression::Bzip2,
            "xz" if at == 0 => compression = Compression::Xz,
            "lz4" | "zip" | "lzma" | "7z" | "rar" if at == 0 => return Err(unsupported(&plain(&suffix))),
            _ => {
                let Some(own) = Module::of(&suffix) else { continue };
                if module.is_some_and(|module| module.name() != own.name()) {
                    continue;
                }
                let format = match (own, suffix.as_str()) {
                    (Module::Parquet, _) => Format::Parquet,
                    (Module::Json, "json") => Format::Json,
                    (Module::Json, _) => Format::Jsonl,
                    (Module::Csv, _) => Format::Csv { separator: b',' },
                    (Module::Tsv, _) => Format::Csv { separator: b'\t' },
                    (Module::Text, _) => Format::Text,
                    (Module::Arrow, _) => Format::Arrow,
                    (Module::Other(_), _) => return Err(unsupported(&suffix)),
                };
                return Ok((format, compression));
            }
        }
    }
    match suffixes(path).next_back() {
        Some(suffix) => Err(unsupported(&plain(suffix))),
        None => Err(Fault::Unsupported { what: format!("`{}` (no suffix)", plain(base(path))) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_suffixes() {
        let csv = |separator| Format::Csv { separator };
        for (path, format, compression) in [
            ("a/b.parquet", Format::Parquet, Compression::None),
            ("a.b/c.jsonl.gz", Format::Jsonl, Compression::Gzip),
            ("A.NDJSON.ZST", Format::Jsonl, Compression::Zstd),
            ("a.json.bz2", Format::Json, Compression::Bzip2),
            ("a.csv.xz", csv(b','), Compression::Xz),
            ("a.tsv", csv(b'\t'), Compression::None),
            ("a.txt.part1", Format::Text, Compression::None),
            ("a.arrow", Format::Arrow, Compression::None),
        ] {
            assert_eq!(format_of(path), Ok((format, compression)), "{path}");
        }
    }

    #[test]
    fn what_is_not_read_is_named() {
        let said = |path| format_of(path).unwrap_err().to_string();
        assert_eq!(
            said("x/a.jsonl.zip"),
            "`a.jsonl.zip` (.zip) is not read; read are parquet, JSON lines, JSON, CSV, TSV, text and Arrow"
        );
        assert!(said("a.tar.gz").starts_with("`a.tar.gz` (.tar) is not read"));
        assert!(said("a.xlsx").starts_with("`a.xlsx` (.xlsx) is not read"));
        assert!(said("x.y/Makefile").starts_with("`Makefile` (no suffix) is not read"));
    }

    #[test]
    fn a_file_between_two_formats_is_read_as_its_config_is() {
        assert_eq!(named("a.json.txt", Some(Module::Json)), Ok((Format::Json, Compression::None)));
        assert_eq!(format_of("a.json.txt"), Ok((Format::Text, Compression::None)));
    }

    #[test]
    fn capitals_are_known_of_media_only() {
        assert!(is_known("PNG") && is_known("png") && is_known("csv"));
        assert!(!is_known("CSV") && !is_known("Png") && !is_known("xlsx"));
    }

    #[test]
    fn a_module_takes_its_own_files_and_archives() {
        assert!(Module::Csv.takes("a.tsv.gz") && Module::Csv.takes("a.zip"));
        assert!(!Module::Csv.takes("a.csv.d/b.json") && !Module::Json.takes("a.csv"));
    }
}
