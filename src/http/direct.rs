//! Plain HTTP/1.1 to one place: hyper on connections of our own, each driven by whoever asks over it.
//!
//! A server of one's own answers in microseconds, and then a general client costs more than all else that asking
//! does: it copies headers and connectors, passes through layers, and wakes a task per connection. Only what is
//! measured there is here. TLS, proxies, users in URLs: none of it, `reqwest` serves those.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::Read as _;
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use flate2::read::GzDecoder;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use reqwest::Url;
use reqwest::header::{ACCEPT, CONTENT_ENCODING, HOST, HeaderMap, HeaderValue, USER_AGENT};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{CONNECT_TIMEOUT, Error, MAX_BODY, POOL_IDLE, Reply, USER};

/// Where requests go, and the connections that wait for one.
#[derive(Debug)]
pub(super) struct Direct {
    host: String,
    port: u16,
    path: Uri,
    headers: HeaderMap,
    /// In the order in which they became idle.
    idle: Mutex<VecDeque<Connection>>,
}

#[derive(Debug)]
struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// What reads and writes; none once it has ended.
    io: Option<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>,
    idle_since: Instant,
}

/// Why an exchange gave no reply.
enum Lost {
    /// Nothing of the request was sent: the server closed the connection while it was idle.
    Unsent(Box<Request<Full<Bytes>>>),
    /// Something else.
    Failed(Error),
}

impl Direct {
    /// The way to `url` if it needs neither TLS nor one of these proxies nor a user's name.
    pub(super) fn to(url: &Url, headers: &HeaderMap, proxies: &Matcher) -> Option<Self> {
        if url.scheme() != "http" || !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let whole: Uri = url.as_str().parse().ok()?;
        if proxies.intercept(&whole).is_some() {
            return None;
        }
        let mut headers = headers.clone();
        headers.insert(HOST, HeaderValue::from_str(whole.authority()?.as_str()).ok()?);
        headers.insert(USER_AGENT, HeaderValue::from_static(USER));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        Some(Self {
            host: url.host_str()?.trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default()?,
            path: whole.path_and_query()?.as_str().parse().ok()?,
            headers,
            idle: Mutex::default(),
        })
    }

    /// Sends one `POST` and reads its reply to the end.
    pub(super) async fn post(&self, body: Bytes) -> Result<Reply, Error> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = self.headers.clone();
        loop {
            let waiting = self.waiting();
            let is_new = waiting.is_none();
            let mut connection = match waiting {
                Some(connection) => connection,
                None => Connection::open(&self.host, self.port).await?,
            };
            match connection.exchange(request).await {
                Ok(reply) => {
                    self.keep(connection);
                    return unpacked(reply);
                }
                Err(Lost::Unsent(back)) if !is_new => request = *back,
                Err(Lost::Unsent(_)) => return Err(Error::Connect("closed before the request".to_owned())),
                Err(Lost::Failed(error)) => return Err(error),
            }
        }
    }

    /// The connection that became idle last, and not too long ago.
    fn waiting(&self) -> Option<Connection> {
        self.idle().pop_back().filter(|connection| connection.idle_since.elapsed() < POOL_IDLE)
    }

    fn keep(&self, mut connection: Connection) {
        connection.idle_since = Instant::now();
        let mut idle = self.idle();
        while idle.pop_front_if(|oldest| oldest.idle_since.elapsed() >= POOL_IDLE).is_some() {}
        idle.push_back(connection);
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, VecDeque<Connection>> {
        // A panic elsewhere leaves a list of connections, each of them whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    async fn open(host: &str, port: u16) -> Result<Self, Error> {
        let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port))).await {
            Ok(stream) => stream.map_err(|error| Error::Connect(error.to_string()))?,
            Err(_) => return Err(Error::Connect(format!("no answer within {CONNECT_TIMEOUT:?}"))),
        };
        // A request is one write: nothing is gained by holding its end back.
        let _ = stream.set_nodelay(true);
        let (sender, io) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| Error::Connect(cause(&error)))?;
        Ok(Self { sender, io: Some(io), idle_since: Instant::now() })
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, Lost> {
        // Sees that the server has closed an idle connection before anything is sent over it.
        let is_open = poll_fn(|context| {
            self.drive(context);
            Poll::Ready(self.io.is_some())
        });
        if !is_open.await {
            return Err(Lost::Unsent(Box::new(request)));
        }
        let sent = self.sender.try_send_request(request);
        let mut exchange = pin!(async {
            let response = sent.await.map_err(|mut lost| match lost.take_message() {
                Some(request) => Lost::Unsent(Box::new(request)),
                None => Lost::Failed(Error::Broken(cause(lost.error()))),
            })?;
            let (head, mut incoming) = response.into_parts();
            let mut body = BytesMut::new();
            while let Some(frame) = incoming.frame().await {
                let frame = frame.map_err(|error| Lost::Failed(Error::Broken(cause(&error))))?;
                let Ok(part) = frame.into_data() else { continue };
                if body.len() + part.len() > MAX_BODY {
                    return Err(Lost::Failed(Error::TooLong));
                }
                body.extend_from_slice(&part);
            }
            Ok(Reply { status: head.status, headers: head.headers, body: body.freeze() })
        });
        poll_fn(|context| {
            // What the connection has read goes to the exchange at once, not after another waking: first the head,
            // then the body, which is read when somebody wants it.
            self.drive(context);
            match exchange.as_mut().poll(context) {
                Poll::Ready(ended) => Poll::Ready(ended),
                Poll::Pending => {
                    self.drive(context);
                    exchange.as_mut().poll(context)
                }
            }
        })
        .await
    }

    /// Reads and writes what can be.
    fn drive(&mut self, context: &mut std::task::Context<'_>) {
        let Some(io) = &mut self.io else { return };
        // Its error goes to whoever waits for the reply; dropping it tells them that none will come.
        if Pin::new(io).poll(context).is_ready() {
            self.io = None;
        }
    }
}

/// A reply with its body unpacked: none is asked to be packed, and some gateways pack all the same.
fn unpacked(reply: Reply) -> Result<Reply, Error> {
    if reply.headers.get(CONTENT_ENCODING).is_none_or(|how| how != "gzip") {
        return Ok(reply);
    }
    let mut body = Vec::new();
    GzDecoder::new(&reply.body[..])
        .take(MAX_BODY as u64 + 1)
        .read_to_end(&mut body)
        .map_err(|error| Error::Broken(format!("the body is no gzip: {error}")))?;
    if body.len() > MAX_BODY { Err(Error::TooLong) } else { Ok(Reply { body: body.into(), ..reply }) }
}

/// The innermost cause, which says most.
fn cause(error: &hyper::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    fn to(url: &str) -> Option<Direct> {
        let proxies = Matcher::builder().http("http://127.0.0.1:1").no("127.0.0.1").build();
        Direct::to(&Url::parse(url).unwrap(), &HeaderMap::new(), &proxies)
    }

    /// A server that sends `reply` to each of `requests`; returns how many connections it took, and what came first.
    async fn serve(listener: TcpListener, reply: &'static str, requests: usize) -> (usize, String) {
        let (mut connections, mut served, mut first) = (0, 0, String::new());
        while served < requests {
            let (mut stream, _) = listener.accept().await.unwrap();
            connections += 1;
            let mut buffer = [0; 4096];
            while served < requests {
                let length = stream.read(&mut buffer).await.unwrap();
                if length == 0 {
                    break;
                }
                if first.is_empty() {
                    first = String::from_utf8_lossy(&buffer[..length]).into_owned();
                }
                stream.write_all(reply.as_bytes()).await.unwrap();
                served += 1;
            }
        }
        (connections, first)
    }

    async fn post_three(reply: &'static str) -> (usize, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/chat", listener.local_addr().unwrap());
        let server = tokio::spawn(serve(listener, reply, 3));
        let direct = to(&url).unwrap();
        for _ in 0..3 {
            let reply = direct.post(Bytes::from_static(b"{}")).await.unwrap();
            assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"yes"[..]));
        }
        server.await.unwrap()
    }

    #[tokio::test]
    async fn a_connection_is_used_again() {
        let (connections, request) = post_three("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes").await;
        assert_eq!(connections, 1);
        assert!(request.starts_with("POST /v1/chat HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("host: 127.0.0.1:") && request.ends_with("\r\n\r\n{}"), "{request}");
    }

    #[tokio::test]
    async fn a_connection_that_ends_is_followed_by_another() {
        let reply = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nyes";
        assert_eq!(post_three(reply).await.0, 3);
    }

    #[tokio::test]
    async fn a_body_that_is_cut_is_no_reply() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = tokio::spawn(serve(listener, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut", 1));
        let ended = to(&url).unwrap().post(Bytes::new()).await;
        assert!(matches!(ended, Err(Error::Broken(_))), "{ended:?}");
        server.await.unwrap();
    }

    #[tokio::test]
    async fn nobody_there_is_told_at_once() {
        // A port that is taken and does not listen: a free one may be the next that another test gets.
        let nobody = TcpSocket::new_v4().unwrap();
        nobody.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = nobody.local_addr().unwrap();
        let ended = to(&format!("http://{address}/")).unwrap().post(Bytes::new()).await;
        assert!(matches!(ended, Err(Error::Connect(_))), "{ended:?}");
    }

    #[test]
    fn what_needs_more_goes_another_way() {
        for url in [
            "https://127.0.0.1/v1",
            "http://me@127.0.0.1/v1",
            "http://:key@127.0.0.1/v1",
            "http://far.example/v1",
        ] {
            assert!(to(url).is_none(), "{url}");
        }
    }
}
