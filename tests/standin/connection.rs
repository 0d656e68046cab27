//! Accepting connections and handing each to hyper, which lets a service end one without a byte of reply;
//! a web framework would turn that into a 500. A script with [`super::Wire`] gets its bytes from `wire` instead.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
};

use super::{
    service::{self, State},
    wire,
};

/// Serves `listener` until it is dropped, and goes away meanwhile when the script says so.
pub(super) async fn serve(listener: std::net::TcpListener, state: Arc<State>) {
    let Ok(mut listener) = TcpListener::from_std(listener) else { return };
    let Ok(address) = listener.local_addr() else { return };
    let mut away = state.away();
    loop {
        let absence = accept(&listener, &state, &mut away).await;
        drop(listener);
        // Bound and not listening: connections are refused, and nobody else gets the port.
        let socket = bound(address).await;
        tokio::select! {
            () = tokio::time::sleep(absence) => {}
            () = state.recovery() => {}
        }
        match socket.listen(1024) {
            Ok(again) => listener = again,
            Err(_) => return,
        }
    }
}

/// Takes connections until the script wants the server away, and for how long it does. All connections end with it.
async fn accept(
    listener: &TcpListener,
    state: &Arc<State>,
    away: &mut watch::Receiver<Duration>,
) -> Duration {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // The sender lives as long as the state.
            _ = away.changed() => return *away.borrow_and_update(),
            Some(_) = connections.join_next() => continue,
        };
        // A connection that is gone before it is accepted is of no interest; out of descriptors, the next one waits.
        let Ok((stream, _)) = accepted else {
            tokio::task::yield_now().await;
            continue;
        };
        // Without it a small reply can wait for the client's delayed acknowledgement; a failure only costs time.
        let _ = stream.set_nodelay(true);
        let (state, open) = (Arc::clone(state), state.open());
        connections.spawn(async move {
            if state.by_wire() {
                wire::serve(stream, state).await;
            } else {
                by_hyper(stream, state).await;
            }
            drop(open);
        });
    }
}

async fn by_hyper(stream: TcpStream, state: Arc<State>) {
    let answer = service_fn(move |request| service::respond(Arc::clone(&state), request));
    // Cut bodies and closed connections end in an error by intent.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

async fn bound(address: SocketAddr) -> TcpSocket {
    loop {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        if let Ok(socket) = socket
            // Connections of the listener before it linger at this port.
            && socket.set_reuseaddr(true).is_ok()
            && socket.bind(address).is_ok()
        {
            return socket;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
