//! The frame of an Arrow IPC stream: messages, each with its metadata and a body of buffers.
//!
//! Arrow's own reader allocates what a header claims, and decompresses whatever a buffer holds. So everything
//! that a message claims is checked here, before that reader sees it.

use super::super::Broken;
use super::super::window::{Bytes, Window};
use arrow::buffer::Buffer;
use arrow::ipc::{CompressionType, Message, RecordBatch, root_as_message};

/// The most bytes of a message's metadata: its schema, or the lengths of its buffers.
const METADATA: u64 = 64 << 20;

/// The most bytes of a message's body, as it is and decompressed.
pub(super) const BODY: u64 = 1 << 30;

/// The mark of an IPC file. What follows it is a stream.
const FILE: &[u8] = b"ARROW1";

/// What a length begins with that is not of the first versions of the format.
const CONTINUATION: u32 = u32::MAX;

/// A message, checked in all that it claims about lengths.
#[derive(Debug)]
pub(super) struct Frame {
    metadata: Vec<u8>,
    pub(super) body: Buffer,
}

impl Frame {
    /// The parts of the metadata.
    pub(super) fn message(&self) -> Result<Message<'_>, String> {
        root_as_message(&self.metadata)
            .map_err(|error| format!("its metadata cannot be read: {}", error.to_string().trim_end()))
    }
}

/// Passes what comes before the first message.
pub(super) fn begin(window: &mut Window<Bytes>) -> Result<(), Broken> {
    const WORD: usize = 8;
    const MOST_ALIGNED: usize = 64;
    let start = window.peek(WORD)?;
    if start.starts_with(FILE) {
        // The mark is filled up with zeros to what the writer aligns buffers to.
        for _ in 0..MOST_ALIGNED / WORD {
            window.pass(WORD);
            if window.peek(WORD)? != [0; WORD] {
                break;
            }
        }
    } else if start.starts_with(b"FEA1") {
        let detail = "write it as version 2, which is Arrow IPC".into();
        return Err(Broken::Corrupt {
            problem: "is a Feather file of version 1, which is not read".into(),
            detail,
        });
    }
    Ok(())
}

/// The next message; `None` at the end of the stream.
///
/// A stream may end without its mark, but only between two messages.
pub(super) fn next(window: &mut Window<Bytes>) -> Result<Option<Frame>, Broken> {
    let start = window.offset();
    let corrupt = |detail: String| Broken::Corrupt {
        problem: "is no Arrow stream or is corrupt".into(),
        detail: format!("the message at byte {start}: {detail}"),
    };
    if window.peek(1)?.is_empty() {
        return Ok(None);
    }
    let mut length = word(window)?;
    if length == CONTINUATION {
        length = word(window)?;
    }
    if length == 0 {
        return Ok(None);
    }
    if u64::from(length) > METADATA {
        return Err(corrupt(format!(
            "it claims {length} bytes of metadata; the most that is read is {METADATA}"
        )));
    }
    let metadata = window.take(length.into())?;
    let frame = Frame { metadata, body: Buffer::default() };
    let body = frame.message().map_err(corrupt)?.bodyLength();
    let body = u64::try_from(body).ok().filter(|body| *body <= BODY).ok_or_else(|| {
        corrupt(format!("it claims a body of {body} bytes; the most that is read is {BODY}"))
    })?;
    let body = Buffer::from_vec(window.take(body)?);
    Ok(Some(Frame { body, ..frame }))
}

fn word(window: &mut Window<Bytes>) -> Result<u32, Broken> {
    let bytes = window.take(size_of::<u32>() as u64)?;
    Ok(u32::from_le_bytes(bytes.try_into().unwrap_or_default()))
}

/// How many rows a batch has, and how many bytes it takes once it is decompressed, both checked.
pub(super) fn measure(batch: RecordBatch, body: &[u8]) -> Result<(u64, u64), String> {
    /// Rows of columns that take no bytes at all: those of the type null.
    const ROWS: u64 = 1 << 20;
    let codec = batch.compression().map(|compression| compression.codec());
    let mut bytes = 0_u64;
    for buffer in batch.buffers().into_iter().flatten() {
        let range = usize::try_from(buffer.offset()).ok().zip(usize::try_from(buffer.length()).ok());
        let part = range.and_then(|(start, length)| body.get(start..start.checked_add(length)?));
        let part = part.ok_or("a buffer that is not inside of its body")?;
        bytes = bytes.saturating_add(match codec {
            Some(codec) => decompressed(codec, part)?,
            None => part.len() as u64,
        });
        if bytes > BODY {
            return Err(format!("buffers of more than {BODY} bytes"));
        }
    }
    let rows = u64::try_from(batch.length()).ok();
    let rows = rows.filter(|rows| *rows <= ROWS.max(bytes.saturating_mul(8)));
    let rows = rows.ok_or_else(|| format!("{} rows, which its {bytes} bytes cannot hold", batch.length()))?;
    Ok((rows, bytes))
}

/// The most memory that decompressing a buffer can take.
fn decompressed(codec: CompressionType, buffer: &[u8]) -> Result<u64, String> {
    let Some((claim, packed)) = buffer.split_first_chunk() else {
        // An empty buffer has no length in front.
        return if buffer.is_empty() { Ok(0) } else { Err("a compressed buffer without its length".into()) };
    };
    match i64::from_le_bytes(*claim) {
        // Not compressed after all.
        -1 => Ok(packed.len() as u64),
        claim => {
            let claim = u64::try_from(claim).map_err(|_| "a compressed buffer of negative length")?;
            // Zstd stops at the length that is claimed; LZ4 goes on to the end of its frame.
            Ok(if codec == CompressionType::LZ4_FRAME { claim.max(lz4(packed)) } else { claim })
        }
    }
}

/// The most bytes that the blocks of an LZ4 frame can hold; what is no such frame is left to the decoder.
pub(super) fn lz4(frame: &[u8]) -> u64 {
    /// The most bytes that one byte of LZ4 stands for.
    const RATIO: u64 = 255;
    const FLAG_CHECKSUMS: u8 = 0x10;
    const FLAG_SIZE: u8 = 0x08;
    const FLAG_DICTIONARY: u8 = 0x01;
    const STORED: u32 = 1 << 31;
    let Some(&[flags, sizes]) = frame.get(4..6) else { return 0 };
    // 4 is 64 KiB, and each next one four times that.
    let block_size = 1_u64 << (8 + 2 * u32::from((sizes >> 4) & 7));
    let checksum = if flags & FLAG_CHECKSUMS == 0 { 0 } else { 4 };
    let header =
        7 + if flags & FLAG_SIZE == 0 { 0 } else { 8 } + if flags & FLAG_DICTIONARY == 0 { 0 } else { 4 };
    let mut rest = frame.get(header..).unwrap_or_default();
    let mut most = 0_u64;
    while let Some((size, block)) = rest.split_first_chunk() {
        let size = u32::from_le_bytes(*size);
        let length = u64::from(size & !STORED);
        if length == 0 {
            break;
        }
        let holds = if size & STORED == 0 { length * RATIO } else { length };
        most = most.saturating_add(holds.min(block_size));
        let next = usize::try_from(length).ok().and_then(|length| length.checked_add(checksum));
        rest = next.and_then(|next| block.get(next..)).unwrap_or_default();
    }
    most
}
