//! Accepting connections, and dropping one without a byte of reply when the script asks for it.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    extract::Request,
    response::Response,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tower::Service;

use super::service::{self, State};

/// Serves `listener` for ever. Hands each connection to a [`Session`] without axum's router, which would cost
/// the fast path two allocations per request for a choice among six paths.
pub(super) async fn serve(listener: std::net::TcpListener, state: Arc<State>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let _ = axum::serve(Loopback(listener), Sessions(state)).await;
}

struct Loopback(TcpListener);

impl Listener for Loopback {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Without it a small reply can wait for the client's delayed acknowledgement; a failure only costs time.
        let _ = stream.set_nodelay(true);
        (Connection { stream, severed: Severed::default() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Shared between a connection and the requests on it: once set, nothing more is written.
#[derive(Clone, Default)]
pub(super) struct Severed(Arc<AtomicBool>);

impl Severed {
    /// Lets the next write fail, on which hyper closes the connection.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Acquire) { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

struct Connection {
    stream: TcpStream,
    severed: Severed,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.severed.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.severed.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

struct Sessions(Arc<State>);

impl Service<IncomingStream<'_, Loopback>> for Sessions {
    type Response = Session;
    type Error = Infallible;
    type Future = Ready<Result<Session, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, stream: IncomingStream<'_, Loopback>) -> Self::Future {
        ready(Ok(Session { state: Arc::clone(&self.0), severed: stream.io().severed.clone() }))
    }
}

/// Answers the requests of one connection.
#[derive(Clone)]
struct Session {
    state: Arc<State>,
    severed: Severed,
}

impl Service<Request> for Session {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Self { state, severed } = self.clone();
        Box::pin(async move { Ok(service::respond(state, request, severed).await) })
    }
}
