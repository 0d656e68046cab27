//! Accepting connections and handing each to hyper, which lets a service end one without a byte of reply.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt, Limited};
use hyper::{Method, Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::{
    Side, cdn, control,
    faults::{self, Seen},
    hub,
    journal::{self, Logged},
    reply::{Closed, Ending, Reply, Response},
    state::State,
};

/// Larger than any list of paths; a request above it is a mistake of the client.
const LARGEST_BODY: usize = 16 << 20;

/// Serves `listener` until it is dropped.
pub(super) async fn serve(listener: std::net::TcpListener, side: Side, state: Arc<State>) {
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
        let answer = service_fn(move |request| respond(Arc::clone(&state), side, request));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        tokio::spawn(async move {
            // Cut bodies and closed connections end in an error by intent.
            let _ = connection.await;
        });
    }
}

async fn respond(state: Arc<State>, side: Side, request: Request<Incoming>) -> Result<Response, Closed> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LARGEST_BODY).collect().await.map_err(|_| Closed)?.to_bytes();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    if side == Side::Hub && head.uri.path().starts_with("/__hub__/") {
        return Ok(control::answer(&state, &head, &body).respond(Ending::Whole, Arc::default()));
    }

    // Counted before a fault: a request that fails is one of the window too.
    let limit = (side == Side::Hub).then(|| state.spend(hub::budget(head.uri.path())));
    let action = faults::take(
        &mut state.faults(),
        &Seen {
            side,
            method: head.method.as_str(),
            path: target,
            ranged: head.headers.contains_key("range"),
        },
    );
    let mut logged = Logged {
        side: side.name(),
        method: head.method.to_string(),
        path: target.to_owned(),
        request: journal::as_text(&head.headers),
        request_body: String::from_utf8_lossy(&body[..body.len().min(2000)]).into_owned(),
        status: 0,
        reply: std::collections::BTreeMap::new(),
        bytes: 0,
    };
    if action.delay > 0.0 {
        tokio::time::sleep(Duration::from_secs_f64(action.delay)).await;
    }
    if action.drop {
        state.journal().add(logged);
        return Err(Closed);
    }

    let mut reply = if action.redirect_loop {
        Reply::text(302, "Found.").header("Location", target)
    } else if let Some(status) = action.status {
        Reply::scripted(status, action.body.as_ref())
    } else {
        match (side, limit) {
            (Side::Hub, Some(limit)) => {
                hub::answer(&hub::Asked { state: &state, head: &head, body: &body, action: &action, limit })
            }
            _ => cdn::answer(&state, &head, &action),
        }
    };
    for (name, value) in &action.headers {
        reply = reply.header(name, value);
    }
    if head.method == Method::HEAD {
        reply = reply.without_body();
    }
    let ending = match (action.truncate, action.stall) {
        (Some(bytes), _) => Ending::Cut(bytes),
        (None, Some(bytes)) => Ending::Stall(bytes),
        (None, None) => Ending::Whole,
    };
    (logged.status, logged.reply) = (reply.status(), reply.headers());
    let sent = state.journal().add(logged);
    Ok(reply.respond(ending, sent))
}
