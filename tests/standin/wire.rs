//! Replies in bytes that hyper does not send: broken, late, compressed, and in older or rarer forms of HTTP/1.
//!
//! A stand-in whose script has an [`Action::Wire`](super::Action::Wire) reads and writes its connections here.

use std::{io, io::Write as _, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress, write::GzEncoder};
use http_body_util::BodyExt;
use hyper::{Request, header::CONTENT_LENGTH, http::request::Parts};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    reply::Response,
    service::{self, State},
};

/// Larger than the head of any request.
const LARGEST_HEAD: usize = 64 << 10;

/// What is written at once of bodies that are made up.
const BLOCK: usize = 64 << 10;

static BLANKS: [u8; BLOCK] = [b' '; BLOCK];

/// How the bytes of a reply go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wire {
    /// RST in place of a reply.
    Reset,
    /// The head and half of the body, then RST.
    ResetInBody,
    /// No byte; the sending side is closed and the receiving one stays open.
    HalfClosed,
    /// The head and half of the body; the sending side is closed and the receiving one stays open.
    HalfClosedInBody,
    /// One byte in so many milliseconds.
    Trickle(u64),
    /// `Content-Length` promises more than there is; the connection stays open.
    LengthAbove,
    /// `Content-Length` promises half of what there is.
    LengthBelow,
    /// HTTP/1.1 without a length, and half of the body before the end.
    EndsInBody,
    /// HTTP/1.0: no length, the end of the connection is the end of the body.
    Http10,
    /// 103 and 102 before the reply.
    Interim,
    /// A header of so many bytes.
    LargeHeader(usize),
    /// `Connection: close`, and so it is.
    Close,
    /// The connection is closed after the reply, which does not say so.
    CloseUnsaid,
    /// Chunks of seven bytes, with an extension, and a trailer after them.
    Chunked,
    /// A chunk whose size is no number.
    BadChunk,
    /// 503 and the end, before the body of the request is read. Of a rule's conditions only `times` counts.
    Early,
    /// `Content-Encoding: gzip`.
    Gzip,
    /// The same, cut in the middle of the compressed bytes.
    GzipCut,
    /// So many MiB of blanks, compressed to a few bytes each, and no end.
    GzipBomb(usize),
    /// So many MiB of blanks before the answer, with their length.
    Large(usize),
    /// The same in chunks, so that nobody knows the length.
    LargeChunked(usize),
    /// Bytes that are not HTTP.
    Garbage,
}

impl Wire {
    /// Whether a client that can all of HTTP/1.1 has a whole answer at the end.
    pub(super) fn delivers(self) -> bool {
        matches!(
            self,
            Self::Http10 | Self::Interim | Self::Close | Self::CloseUnsaid | Self::Chunked | Self::Gzip
        )
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(mut stream: TcpStream, state: Arc<State>) {
    // A client that leaves and a reply that breaks end in an error by intent.
    let _ = converse(&mut stream, state).await;
}

async fn converse(stream: &mut TcpStream, state: Arc<State>) -> io::Result<()> {
    let mut input = BytesMut::new();
    while let Some(head) = read_head(stream, &mut input).await? {
        if let Some(early) = state.early(&head) {
            let (head, body) = parts(early).await?;
            stream
                .write_all(&message("HTTP/1.1", &head, &["connection: close", &length(body.len())]))
                .await?;
            return stream.write_all(&body).await;
        }
        let size = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = read_body(stream, &mut input, size.unwrap_or(0)).await?;
        let reply = tokio::select! {
            reply = service::answer(Arc::clone(&state), &head, body) => reply,
            () = gone(stream) => return Ok(()),
        };
        let Ok(reply) = reply else { return Ok(()) };
        let wire = reply.extensions().get::<Wire>().copied();
        let (head, body) = parts(reply).await?;
        if let Some(wire) = wire {
            if !send(stream, wire, &head, &body).await? {
                return Ok(());
            }
        } else {
            stream.write_all(&message("HTTP/1.1", &head, &[&length(body.len())])).await?;
            stream.write_all(&body).await?;
        }
    }
    Ok(())
}

type Head = hyper::http::response::Parts;

/// Writes a reply in this way; whether the connection goes on.
async fn send(stream: &mut TcpStream, wire: Wire, head: &Head, body: &Bytes) -> io::Result<bool> {
    let whole = length(body.len());
    let half = body.slice(..body.len() / 2);
    let plain = |extra: &[&str], body: &[u8]| [&message("HTTP/1.1", head, extra), body].concat();
    match wire {
        Wire::Reset => stream.set_zero_linger()?,
        Wire::ResetInBody => {
            stream.write_all(&plain(&[&whole], &half)).await?;
            stream.set_zero_linger()?;
        }
        Wire::HalfClosed => {
            stream.shutdown().await?;
            gone(stream).await;
        }
        Wire::HalfClosedInBody => {
            stream.write_all(&plain(&[&whole], &half)).await?;
            stream.shutdown().await?;
            gone(stream).await;
        }
        Wire::Trickle(milliseconds) => {
            for byte in plain(&[&whole], body) {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            }
        }
        Wire::LengthAbove => {
            stream.write_all(&plain(&[&length(body.len() + 10)], body)).await?;
            gone(stream).await;
        }
        Wire::LengthBelow => {
            stream.write_all(&plain(&[&length(half.len())], body)).await?;
            return Ok(true);
        }
        Wire::EndsInBody => stream.write_all(&plain(&[], &half)).await?,
        Wire::Http10 => {
            stream.write_all(&message("HTTP/1.0", head, &[])).await?;
            stream.write_all(body).await?;
        }
        Wire::Interim => {
            let interim =
                "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
            stream.write_all(interim.as_bytes()).await?;
            stream.write_all(&plain(&[&whole], body)).await?;
            return Ok(true);
        }
        Wire::LargeHeader(bytes) => {
            let header = format!("x-large: {}", "x".repeat(bytes));
            stream.write_all(&plain(&[&header, &whole], body)).await?;
            return Ok(true);
        }
        Wire::Close => stream.write_all(&plain(&["connection: close", &whole], body)).await?,
        Wire::CloseUnsaid => stream.write_all(&plain(&[&whole], body)).await?,
        Wire::Chunked => {
            let extra = ["transfer-encoding: chunked", "trailer: x-checksum"];
            let mut bytes = plain(&extra, b"");
            for piece in body.chunks(7) {
                bytes.extend_from_slice(&chunk(piece, ";part=1"));
            }
            bytes.extend_from_slice(b"0\r\nx-checksum: 0\r\n\r\n");
            stream.write_all(&bytes).await?;
            return Ok(true);
        }
        Wire::BadChunk => {
            let bytes = plain(&["transfer-encoding: chunked"], b"7\r\n{\"id\": \r\nminus one\r\n");
            stream.write_all(&bytes).await?;
        }
        // Sent before the body was read, by the caller.
        Wire::Early => {}
        Wire::Gzip | Wire::GzipCut => {
            let packed = gzip(body)?;
            let sent = if wire == Wire::Gzip { &packed[..] } else { &packed[..packed.len() / 2] };
            stream.write_all(&plain(&["content-encoding: gzip", &length(sent.len())], sent)).await?;
            return Ok(true);
        }
        Wire::GzipBomb(mebibytes) => {
            let bomb = gzip_bomb(mebibytes)?;
            stream.write_all(&plain(&["content-encoding: gzip", &length(bomb.len())], &bomb)).await?;
            return Ok(true);
        }
        Wire::Large(mebibytes) => {
            let blocks = (mebibytes << 20) / BLOCK;
            stream.write_all(&plain(&[&length(blocks * BLOCK + body.len())], b"")).await?;
            for _ in 0..blocks {
                stream.write_all(&BLANKS).await?;
            }
            stream.write_all(body).await?;
            return Ok(true);
        }
        Wire::LargeChunked(mebibytes) => {
            stream.write_all(&plain(&["transfer-encoding: chunked"], b"")).await?;
            for _ in 0..(mebibytes << 20) / BLOCK {
                stream.write_all(&chunk(&BLANKS, "")).await?;
            }
            stream.write_all(&[&chunk(body, "")[..], b"0\r\n\r\n"].concat()).await?;
            return Ok(true);
        }
        Wire::Garbage => stream.write_all(b"\x16\x03\x01 220 mail.example ESMTP\r\n\r\n").await?,
    }
    Ok(false)
}

/// A chunk of a body, with its extensions.
fn chunk(bytes: &[u8], extensions: &str) -> Vec<u8> {
    [format!("{:x}{extensions}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(body)?;
    packed.finish()
}

/// After a full flush each block stands by itself (RFC 1951, section 2), so one block serves for all.
fn gzip_bomb(mebibytes: usize) -> io::Result<Vec<u8>> {
    // RFC 1952, section 2.3: magic, deflate, no flags, no time, no operating system.
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut block = Vec::with_capacity(BLOCK);
    let mut deflate = Compress::new(Compression::fast(), false);
    deflate.compress_vec(&BLANKS, &mut block, FlushCompress::Full).map_err(io::Error::other)?;
    Ok([&head[..], &block.repeat((mebibytes << 20) / BLOCK)].concat())
}

fn length(bytes: usize) -> String {
    format!("content-length: {bytes}")
}

/// A reply's head with further lines, up to and with the empty line.
fn message(version: &str, head: &Head, extra: &[&str]) -> Vec<u8> {
    let mut bytes = format!("{version} {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        bytes.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    for line in extra {
        bytes.extend_from_slice(&[line.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// A reply in its parts; a body that is cut by intent ends the connection.
async fn parts(reply: Response) -> io::Result<(Head, Bytes)> {
    let (head, body) = reply.into_parts();
    Ok((head, body.collect().await.map_err(io::Error::other)?.to_bytes()))
}

/// The next request's head; none at the end of the connection.
async fn read_head(stream: &mut TcpStream, input: &mut BytesMut) -> io::Result<Option<Parts>> {
    loop {
        if let Some(end) = memchr::memmem::find(input, b"\r\n\r\n") {
            let text = input.split_to(end + 4);
            return parse(&text).map(Some).ok_or_else(|| io::Error::other("this is no request"));
        }
        if input.len() > LARGEST_HEAD || stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}

fn parse(text: &[u8]) -> Option<Parts> {
    let mut lines = std::str::from_utf8(text).ok()?.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let mut request = Request::builder().method(first.next()?).uri(first.next()?);
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        request = request.header(name, value.trim());
    }
    Some(request.body(()).ok()?.into_parts().0)
}

async fn read_body(stream: &mut TcpStream, input: &mut BytesMut, size: usize) -> io::Result<Bytes> {
    while input.len() < size {
        if stream.read_buf(input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(input.split_to(size).freeze())
}

/// Returns when the client has left.
async fn gone(stream: &TcpStream) {
    let mut byte = [0];
    // A client that sends the next request already has not left; whether it does after that cannot be seen.
    if !matches!(stream.peek(&mut byte).await, Ok(0) | Err(_)) {
        std::future::pending::<()>().await;
    }
}
