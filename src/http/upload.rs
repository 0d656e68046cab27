//! A file on its way to a server, in a form (`multipart/form-data`, RFC 7578): streamed, of known length.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream, StreamExt as _};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Notify;

use super::{Client, Error, HeaderMap, HeaderValue, Method, Reply, Request, Url};

/// What parts the fields of a form. No line of a file that is sent may begin with it: those of JSON begin with a brace.
const BOUNDARY: &str = "classified-a-file-of-json-lines";

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// How many times a client's timeout the server may take to answer when it was given everything: the last megabytes lie in
/// buffers of the system then, and it may look through the file first.
const LAST: u32 = 5;

/// A file of JSON lines to send, and what goes before it.
#[derive(Debug)]
pub struct Upload {
    /// Fields of text.
    pub fields: Vec<(&'static str, &'static str)>,
    /// The file's name, as the server is told it.
    pub name: String,
    /// The file, which is sent from its beginning.
    pub file: File,
}

/// What the connection has taken so far.
#[derive(Debug, Default)]
struct Progress {
    /// Bytes that it has not.
    left: AtomicU64,
    taken: Notify,
}

impl Client {
    /// Sends a file to `url`, and reads the reply to its end. A server that takes nothing for as long as an attempt may take
    /// is [`Error::Timeout`]; how long the whole takes does not matter.
    pub async fn upload(&self, url: &str, headers: HeaderMap, upload: Upload) -> Result<Reply, Error> {
        let url = Url::parse(url).map_err(|error| Error::Connect(error.to_string()))?;
        let Upload { fields, name, mut file } = upload;
        let unreadable =
            |error: std::io::Error| Error::Broken(format!("the file to send cannot be read: {error}"));
        let size = file.metadata().map_err(unreadable)?.len();
        file.seek(SeekFrom::Start(0)).map_err(unreadable)?;

        let (head, tail) = (head(&fields, &name), format!("\r\n--{BOUNDARY}--\r\n"));
        let length = size + (head.len() + tail.len()) as u64;
        let progress = Arc::new(Progress { left: AtomicU64::new(length), taken: Notify::new() });
        let taken = Arc::clone(&progress);
        let ends = |text: String| stream::once(async { Ok(Bytes::from(text)) });
        let body = ends(head).chain(pieces(file, size)).chain(ends(tail)).inspect(move |piece| {
            let bytes = piece.as_ref().map_or(0, Bytes::len) as u64;
            taken.left.fetch_sub(bytes, Ordering::Relaxed);
            taken.taken.notify_one();
        });

        let mut request = Request::new(Method::POST, url);
        *request.headers_mut() = headers;
        let form = HeaderValue::from_str(&format!("multipart/form-data; boundary={BOUNDARY}"));
        request.headers_mut().insert(CONTENT_TYPE, form.map_err(|error| Error::Connect(error.to_string()))?);
        // Without it the body would come in chunks of unknown number, which not every server takes.
        request.headers_mut().insert(CONTENT_LENGTH, length.into());
        *request.body_mut() = Some(reqwest::Body::wrap_stream(body));
        self.watched(request, &progress).await
    }

    /// One exchange, which ends when nothing moves any more.
    async fn watched(&self, request: Request, progress: &Progress) -> Result<Reply, Error> {
        let mut exchange = std::pin::pin!(self.exchange(request));
        loop {
            let is_last = progress.left.load(Ordering::Relaxed) == 0;
            let patience = self.timeout * if is_last { LAST } else { 1 };
            tokio::select! {
                reply = &mut exchange => return reply,
                () = progress.taken.notified() => {}
                () = tokio::time::sleep(patience) => return Err(Error::Timeout(patience)),
            }
        }
    }
}

/// What comes before the file's content.
fn head(fields: &[(&'static str, &'static str)], name: &str) -> String {
    let fields = fields.iter().map(|(field, value)| {
        format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n")
    });
    let name: String = name.chars().map(|c| if c == '"' || c.is_control() { '_' } else { c }).collect();
    let file = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: \
         application/jsonl\r\n\r\n"
    );
    fields.chain([file]).collect()
}

/// The content of a file, so many bytes of it.
fn pieces(file: File, size: u64) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let file = tokio::fs::File::from_std(file).take(size);
    stream::try_unfold(file, |mut file| async move {
        let mut piece = BytesMut::with_capacity(PIECE);
        let read = file.read_buf(&mut piece).await?;
        Ok((read > 0).then(|| (piece.freeze(), file)))
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    fn upload(content: &[u8]) -> Upload {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Upload { fields: vec![("purpose", "batch")], name: "a\"b\r\n.jsonl".to_owned(), file }
    }

    #[tokio::test]
    async fn a_file_is_sent_whole_with_its_length_in_a_form() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/files", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut part = vec![0; 1 << 16];
            while !request.ends_with(b"--classified-a-file-of-json-lines--\r\n") {
                let read = connection.read(&mut part).unwrap();
                assert!(read > 0, "the form has no end");
                request.extend_from_slice(&part[..read]);
            }
            connection.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}").unwrap();
            request
        });
        let content = "{\"custom_id\": \"x\"}\n".repeat(50_000);
        let client = Client::direct(Duration::from_mins(1)).unwrap();
        let reply = client.upload(&url, HeaderMap::new(), upload(content.as_bytes())).await.unwrap();
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (201, &b"{}"[..]));
        let request = String::from_utf8(server.join().unwrap()).unwrap();
        let (headers, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(headers.contains(&format!("content-length: {}", body.len())), "{headers}");
        assert!(headers.contains("content-type: multipart/form-data; boundary=classified-"), "{headers}");
        let fields: Vec<&str> = body.split("--classified-a-file-of-json-lines").collect();
        assert_eq!(fields[1], "\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n");
        let (about, sent) = fields[2].split_once("\r\n\r\n").unwrap();
        assert!(about.contains("name=\"file\"; filename=\"a_b__.jsonl\""), "{about}");
        assert!(sent.strip_suffix("\r\n").unwrap() == content);
        assert_eq!(fields[3], "--\r\n");
    }

    #[tokio::test]
    async fn a_server_that_takes_nothing_is_given_up() {
        // Nobody reads what is sent, and the buffers of the system hold but a part of it.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/files", listener.local_addr().unwrap());
        let client = Client::direct(Duration::from_millis(100)).unwrap();
        let upload = upload(&vec![b' '; 64 << 20]);
        let sent = client.upload(&url, HeaderMap::new(), upload).await;
        assert!(matches!(sent, Err(Error::Timeout(_))), "{sent:?}");
    }
}
