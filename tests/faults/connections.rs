//! Connections that are refused, broken, silent, slow, or in rare forms of HTTP; TLS and redirects.

use std::net::{Ipv6Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use crate::standin::{Action, Config, Nobody, Rule, Script, Standin, Wire};
use crate::world::Run;

use super::{ROWS, Trial, each, headers, passes, signal, until};

#[test]
fn a_connection_that_breaks_is_made_again() {
    let broken = [
        Wire::Reset,
        Wire::ResetInBody,
        Wire::HalfClosed,
        Wire::HalfClosedInBody,
        Wire::LengthBelow,
        Wire::EndsInBody,
        Wire::BadChunk,
        Wire::GzipCut,
        Wire::Garbage,
        Wire::LargeHeader(1 << 20),
    ];
    let mut broken = broken.map(Action::Wire).to_vec();
    broken.extend([Action::CloseWithoutReply, Action::CutBody]);
    passes(&broken, &[]);
}

#[test]
fn a_silent_server_and_a_slow_one_cost_one_timeout() {
    let slow = [Action::Hang, Action::Wire(Wire::Trickle(1000)), Action::Wire(Wire::LengthAbove)];
    passes(&slow, &["--timeout", "1"]);
}

#[test]
fn a_reply_before_the_request_was_read_is_asked_again() {
    let trial = Trial::new(vec![Rule::first(3, Action::Wire(Wire::Early))]);
    assert_eq!(trial.run(&[]).exits(0).ledger()["rated"], ROWS);
}

#[test]
fn rare_forms_of_http_are_read_at_once() {
    each(&[Wire::Http10, Wire::Interim, Wire::Close, Wire::Chunked, Wire::Gzip], |wire| {
        let trial = Trial::new(vec![Rule::always(Action::Wire(*wire))]);
        assert_eq!(trial.run(&[]).exits(0).ledger()["rated"], ROWS, "{wire:?}");
        assert_eq!(trial.standin.counters().requests, ROWS as u64, "{wire:?} was asked again");
        trial.recovers();
    });
}

#[test]
fn a_server_that_closes_every_connection_is_rated_by_all_the_same() {
    let trial = Trial::new(vec![Rule::always(Action::Wire(Wire::CloseUnsaid))]);
    assert_eq!(trial.run(&[]).exits(0).ledger()["rated"], ROWS);
    trial.recovers();
}

#[test]
fn a_server_that_goes_away_and_comes_back_loses_nothing() {
    let away = Rule { nth: Some(6..=6), ..Rule::always(Action::GoAway(1500)) };
    let trial = Trial::new(vec![away, Rule::always(Action::Delay(5))]);
    assert_eq!(trial.run(&[]).exits(0).ledger()["rated"], ROWS);
    trial.recovers();
}

#[cfg(unix)]
#[test]
fn a_server_that_stays_away_is_waited_for_until_the_user_has_enough() {
    let away = Rule { nth: Some(6..=6), ..Rule::always(Action::GoAway(3_600_000)) };
    let trial = Trial::new(vec![away]);
    let child = trial.start(&[]);
    until(|| std::net::TcpStream::connect(("127.0.0.1", trial.standin.port())).is_err());
    until(|| trial.standin.counters().in_flight == 0);
    signal("INT", &child);
    let run = Run::of(child.wait_with_output().unwrap()).exits(130);
    trial.sound(&run);
    let rated = run.ledger()["rated"].as_u64().unwrap();
    assert!((1..ROWS as u64).contains(&rated), "{}", run.stdout);
    // When it is back its answers are found again, and the rest is asked.
    trial.recovers();
    assert_eq!(trial.committed(), ROWS);
}

#[test]
fn an_endpoint_that_is_not_there_is_named_with_what_to_do() {
    let trial = Trial::new(vec![]);
    let refused = Nobody::new();
    for url in [refused.url(), "http://no-such-host.invalid/v1".to_owned()] {
        let run = Run::of(trial.command(&[]).env("OPENAI_BASE_URL", &url).output().unwrap()).exits(1);
        trial.sound(&run);
        assert!(run.stderr.contains(&url) && run.stderr.contains("check OPENAI_BASE_URL"), "{}", run.stderr);
    }
}

#[test]
fn an_endpoint_that_never_says_a_word_is_named_with_what_to_do() {
    let trial = Trial::new(vec![]);
    // It listens and never accepts.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", silent.local_addr().unwrap());
    let run =
        Run::of(trial.command(&["--timeout", "1"]).env("OPENAI_BASE_URL", &url).output().unwrap()).exits(1);
    trial.sound(&run);
    assert!(run.stderr.contains(&url) && run.stderr.contains("no reply within 1s"), "{}", run.stderr);
}

#[test]
fn the_key_does_not_follow_a_redirect() {
    each(&[301, 302, 303, 307, 308], |code| {
        let other = Standin::start(Config::default());
        let elsewhere = format!("{}/chat/completions", other.url());
        let moved = Action::Status { code: *code, body: None, headers: headers(&[("location", &elsewhere)]) };
        let trial = Trial::new(vec![Rule::always(moved)]);
        let run = trial.run(&[]).exits(1);
        assert!(run.stderr.contains("sends requests elsewhere"), "{}", run.stderr);
        assert_eq!(other.requests(), [], "{code} was followed");
        trial.recovers();
    });
}

#[test]
fn a_certificate_that_nobody_vouches_for_ends_the_run_with_its_cause() {
    let trial = Trial::new(vec![]);
    let (url, server) = self_signed();
    let run = Run::of(trial.command(&[]).env("OPENAI_BASE_URL", &url).output().unwrap()).exits(1);
    trial.sound(&run);
    assert!(run.stderr.contains(&url) && run.stderr.contains("certificate"), "{}", run.stderr);
    // What the server got is a handshake that the client broke off: no request, so no key.
    let error = server.join().unwrap();
    assert!(error.contains("alert"), "{error}");
}

/// A server of real TLS with a certificate of its own making: takes one connection, and says how it ended.
fn self_signed() -> (String, std::thread::JoinHandle<String>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/v1", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        while session.is_handshaking() {
            if let Err(error) = session.complete_io(&mut stream) {
                return error.to_string();
            }
        }
        match session.complete_io(&mut stream) {
            Ok(_) => "the client went on".to_owned(),
            Err(error) => error.to_string(),
        }
    });
    (url, server)
}

#[test]
fn plain_text_where_tls_is_spoken_is_told() {
    let trial = Trial::new(vec![]);
    let url = trial.standin.url().replace("http:", "https:");
    let run = Run::of(trial.command(&[]).env("OPENAI_BASE_URL", &url).output().unwrap()).exits(1);
    trial.sound(&run);
    assert!(run.stderr.contains("cannot be reached") && run.stderr.contains(&url), "{}", run.stderr);
}

#[test]
fn a_server_on_the_loopback_of_ipv6_is_an_endpoint() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        println!("skipped: this machine has no ::1");
        return;
    }
    let config = Config {
        host: Ipv6Addr::LOCALHOST.into(),
        script: Script(vec![Rule::first(1, Action::status(503))]),
        delay: Duration::from_millis(1),
        ..Config::default()
    };
    let trial = Trial::with(config);
    assert!(trial.standin.url().starts_with("http://[::1]:"));
    assert_eq!(trial.run(&[]).exits(0).ledger()["rated"], ROWS);
    trial.recovers();
}
