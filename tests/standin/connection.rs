//! Accepting connections and handing each to hyper, which lets a service end one without a byte of reply;
//! a web framework would turn that into a 500.

use std::sync::Arc;

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::service::{self, State};

/// Serves `listener` until it is dropped.
pub(super) async fn serve(listener: std::net::TcpListener, state: Arc<State>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        // A connection that is gone before it is accepted is of no interest; out of descriptors, the next one waits.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        // Without it a small reply can wait for the client's delayed acknowledgement; a failure only costs time.
        let _ = stream.set_nodelay(true);
        let state = Arc::clone(&state);
        let answer = service_fn(move |request| service::respond(Arc::clone(&state), request));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        tokio::spawn(async move {
            // Cut bodies and closed connections end in an error by intent.
            let _ = connection.await;
        });
    }
}
