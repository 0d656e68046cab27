//! Decompression of what is read from front to back.

use super::{Broken, Input};
use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use std::fmt;
use std::io::{self, BufReader, ErrorKind, Read};
use zstd::stream::read::Decoder as ZstdDecoder;

/// How much compressed data is asked for at a time.
const CHUNK: usize = 256 << 10;

/// The largest window of a zstd stream, as a power of two: 128 MiB, which is what `zstd` itself reads.
const ZSTD_WINDOW: u32 = 27;

/// The most memory that an xz stream may ask for, in bytes (`xz -9` takes 65 MiB).
const XZ_MEMORY: u64 = 128 << 20;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Gzip,
    Zstd,
    Bzip2,
    Xz,
    Lz4,
    Zip,
    Lzma,
}

/// Whether a file begins as a compressed one does.
pub(in crate::dataset) fn is_compressed(start: &[u8]) -> bool {
    Codec::by_magic(start).is_some()
}

/// The longest of the marks that a compressed file begins with.
pub(in crate::dataset) const LONGEST_MAGIC: u64 = 10;

impl Codec {
    fn by_magic(start: &[u8]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, 0x08, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            // A level, and then a block or the end: "BZh" alone may begin a text.
            [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..]
                if rest == b"\x31\x41\x59\x26\x53\x59" || rest == b"\x17\x72\x45\x38\x50\x90" =>
            {
                Some(Self::Bzip2)
            }
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Self::Lz4),
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Self::Zip),
            _ => None,
        }
    }

    fn by_name(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "gz" | "gzip" => Some(Self::Gzip),
            "zst" | "zstd" => Some(Self::Zstd),
            "bz2" => Some(Self::Bzip2),
            "xz" => Some(Self::Xz),
            "lz4" => Some(Self::Lz4),
            "zip" => Some(Self::Zip),
            "lzma" => Some(Self::Lzma),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::Zip => "zip",
            Self::Lzma => "lzma",
        }
    }
}

/// What `input` holds once it is decompressed; as it is where it is not compressed.
///
/// The first bytes tell; a file whose `name` says that it is compressed and whose bytes do not is an error.
/// Read are gzip, zstd, bzip2 and xz, of one part or several. Memory is bounded, whatever the header asks for.
/// A stream that is cut off ends in an error.
pub(in crate::dataset) fn decompressed(mut input: Input, name: &str) -> Result<Input, Broken> {
    let mut start = Vec::new();
    input.by_ref().take(LONGEST_MAGIC).read_to_end(&mut start)?;
    let found = Codec::by_magic(&start);
    let input = io::Cursor::new(start).chain(input);
    let codec = match (found, Codec::by_name(name)) {
        (Some(codec), _) | (None, Some(codec @ (Codec::Lz4 | Codec::Zip | Codec::Lzma))) => codec,
        (None, None) => return Ok(Box::new(input)),
        (None, Some(named)) => {
            let problem = format!("is not the {} file that its name says", named.name());
            return Err(Broken::Corrupt { problem, detail: "its first bytes are others".into() });
        }
    };
    let packed = BufReader::with_capacity(CHUNK, Packed { input });
    let decoder: Input = match codec {
        Codec::Gzip => Box::new(MultiGzDecoder::new(packed)),
        Codec::Zstd => {
            let mut decoder = ZstdDecoder::with_buffer(packed)?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Box::new(decoder)
        }
        Codec::Bzip2 => Box::new(MultiBzDecoder::new(packed)),
        Codec::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED).map_err(io::Error::from)?;
            Box::new(XzDecoder::new_stream(packed, stream))
        }
        Codec::Lz4 | Codec::Zip | Codec::Lzma => {
            let problem = format!("is compressed with {}, which is not read", codec.name());
            let detail = "unpack it, or pack it with gzip, zstd, bzip2 or xz".into();
            return Err(Broken::Corrupt { problem, detail });
        }
    };
    Ok(Box::new(Unpacked { decoder, codec }))
}

/// The compressed bytes, whose errors are told from those of the decoder.
struct Packed<R> {
    input: R,
}

impl<R: Read> Read for Packed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let below = |error: io::Error| io::Error::new(error.kind(), Below(error));
        self.input.read(buffer).map_err(below)
    }
}

/// An error of the source, on its way through a decoder.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Below(io::Error);

/// The decompressed bytes.
struct Unpacked {
    decoder: Input,
    codec: Codec,
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buffer).map_err(|error| {
            let kind = error.kind();
            match error.downcast::<Below>() {
                Ok(Below(source)) => source,
                Err(error) => {
                    io::Error::new(kind, Undecodable { codec: self.codec, kind, detail: error.to_string() })
                }
            }
        })
    }
}

/// What a decoder has against its input.
#[derive(Debug)]
struct Undecodable {
    codec: Codec,
    kind: ErrorKind,
    detail: String,
}

impl std::error::Error for Undecodable {}

impl fmt::Display for Undecodable {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        write!(to, "the {} stream {}: {}", self.codec.name(), self.problem(), self.detail)
    }
}

impl Undecodable {
    fn problem(&self) -> &'static str {
        match self.kind {
            ErrorKind::UnexpectedEof => "is cut off",
            ErrorKind::OutOfMemory => "takes more memory than is given",
            _ => "is corrupt",
        }
    }
}

/// The error of a file that cannot be decompressed, or of bytes that do not come.
pub(super) fn corrupt(error: io::Error) -> Broken {
    match error.downcast::<Undecodable>() {
        Ok(undecodable) => Broken::Corrupt {
            problem: format!("({}) {}", undecodable.codec.name(), undecodable.problem()),
            detail: undecodable.detail,
        },
        Err(error) => Broken::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    const TEXT: &[u8] = b"one\ntwo\nthree\n";

    fn packed(codec: Codec, text: &[u8]) -> Vec<u8> {
        match codec {
            Codec::Gzip => {
                let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                to.write_all(text).unwrap();
                to.finish().unwrap()
            }
            Codec::Zstd => {
                let mut to = zstd::Encoder::new(Vec::new(), 1).unwrap();
                to.include_checksum(true).unwrap();
                to.write_all(text).unwrap();
                to.finish().unwrap()
            }
            Codec::Bzip2 => {
                let mut to = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                to.write_all(text).unwrap();
                to.finish().unwrap()
            }
            Codec::Xz => {
                let mut to = liblzma::write::XzEncoder::new(Vec::new(), 1);
                to.write_all(text).unwrap();
                to.finish().unwrap()
            }
            Codec::Lz4 | Codec::Zip | Codec::Lzma => unreachable!(),
        }
    }

    fn unpack(bytes: Vec<u8>, name: &str) -> Result<Vec<u8>, Broken> {
        let mut text = Vec::new();
        decompressed(Box::new(Cursor::new(bytes)), name)?.read_to_end(&mut text)?;
        Ok(text)
    }

    fn message(bytes: Vec<u8>, name: &str) -> String {
        unpack(bytes, name).unwrap_err().of(name).to_string()
    }

    const CODECS: [(Codec, &str); 4] = [
        (Codec::Gzip, "x.jsonl.gz"),
        (Codec::Zstd, "x.jsonl.zst"),
        (Codec::Bzip2, "x.jsonl.bz2"),
        (Codec::Xz, "x.jsonl.xz"),
    ];

    #[test]
    fn every_codec_is_read_whatever_the_name_says_and_in_parts() {
        for (codec, name) in CODECS {
            let once = packed(codec, TEXT);
            assert_eq!(unpack(once.clone(), name).unwrap(), TEXT, "{codec:?}");
            assert_eq!(unpack(once.clone(), "x.jsonl").unwrap(), TEXT, "{codec:?}");
            let twice = [once.clone(), packed(codec, b""), once].concat();
            assert_eq!(unpack(twice, name).unwrap(), [TEXT, TEXT].concat(), "{codec:?}");
        }
        assert_eq!(unpack(TEXT.to_vec(), "x.jsonl").unwrap(), TEXT);
        assert_eq!(unpack(Vec::new(), "x.jsonl").unwrap(), b"");
        assert_eq!(unpack(b"BZh9 is a text".to_vec(), "x.txt").unwrap(), b"BZh9 is a text");
    }

    #[test]
    fn a_stream_that_is_cut_off_anywhere_is_an_error_and_no_end() {
        let text: Vec<u8> =
            (0..3_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for (codec, name) in CODECS {
            let whole = packed(codec, &text);
            for cut in (10..whole.len()).step_by(7).chain([whole.len() - 1]) {
                let error = unpack(whole[..cut].to_vec(), name).unwrap_err();
                let Broken::Corrupt { problem, .. } = error else { panic!("{codec:?} at {cut}: {error:?}") };
                assert_eq!(problem, format!("({}) is cut off", codec.name()), "at {cut}");
            }
            let two = [whole.clone(), whole].concat();
            assert!(unpack(two[..two.len() - 5].to_vec(), name).is_err(), "{codec:?}");
        }
    }

    #[test]
    fn a_stream_that_is_corrupt_is_named_as_such() {
        for (codec, name) in CODECS {
            let mut bytes = packed(codec, TEXT);
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            assert!(matches!(unpack(bytes, name), Err(Broken::Corrupt { .. })), "{codec:?}");
            let garbage = [packed(codec, TEXT), b"garbage, garbage, garbage".to_vec()].concat();
            assert!(matches!(unpack(garbage, name), Err(Broken::Corrupt { .. })), "{codec:?}");
        }
    }

    #[test]
    fn what_is_not_read_says_so() {
        insta::assert_snapshot!(message(TEXT.to_vec(), "x.csv.gz"), @"`x.csv.gz` is not the gzip file that its name says: its first bytes are others");
        insta::assert_snapshot!(message(b"PK\x03\x04".to_vec(), "x.csv"), @"`x.csv` is compressed with zip, which is not read: unpack it, or pack it with gzip, zstd, bzip2 or xz");
        assert!(message(b"\x04\x22\x4d\x18".to_vec(), "x").contains("with lz4, which"));
        assert!(message(b"]".to_vec(), "x.LZMA").contains("with lzma, which"));
    }

    #[test]
    fn a_header_cannot_ask_for_much_memory() {
        // A frame with a window of 2 GiB, and one raw block of a byte.
        let zstd = b"\x28\xb5\x2f\xfd\x00\xa8\x09\x00\x00x".to_vec();
        insta::assert_snapshot!(message(zstd, "x.zst"), @"`x.zst` (zstd) is corrupt: Frame requires too much memory for decoding");
        // The header of the first block, with a dictionary of 256 MiB instead.
        let mut xz = packed(Codec::Xz, TEXT);
        let header = 12..12 + usize::from(xz[12]) * 4;
        assert_eq!(xz[14..16], [0x21, 1]);
        xz[16] = 32;
        let mut sum = flate2::Crc::new();
        sum.update(&xz[header.clone()]);
        xz[header.end..header.end + 4].copy_from_slice(&sum.sum().to_le_bytes());
        insta::assert_snapshot!(message(xz, "x.xz"), @"`x.xz` (xz) is corrupt: memory limit reached");
    }

    #[test]
    fn an_error_of_the_source_passes_through_unchanged() {
        struct Fails(Cursor<Vec<u8>>);
        impl Read for Fails {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                match self.0.read(buffer)? {
                    0 => Err(io::Error::new(ErrorKind::ConnectionReset, "the cable")),
                    length => Ok(length),
                }
            }
        }
        for (codec, name) in CODECS {
            let bytes = packed(codec, TEXT);
            let half = bytes[..bytes.len() - 6].to_vec();
            let input: Input = Box::new(Fails(Cursor::new(half)));
            let error = decompressed(input, name).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!((error.kind(), error.to_string()), (ErrorKind::ConnectionReset, "the cable".into()));
        }
    }
}
