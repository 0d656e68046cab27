//! Ctrl-C, SIGTERM and SIGHUP: the first asks the run to finish what is in flight, the second ends it at once.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::exit::Exit;

/// Signals within so short a time are one wish: a person's second Ctrl-C comes later.
const ONE_WISH: Duration = Duration::from_millis(200);

/// A file that would grow beyond the shell's `ulimit -f` (`SIGXFSZ`, whose number is 25 on Linux and macOS).
#[cfg(unix)]
const FILE_TOO_LARGE: i32 = 25;

/// Lets a write beyond the size that files may have fail as any other does, with an error that names the file. Without a
/// handler the system ends the process there without a word. Wants a runtime.
pub(super) fn survive_file_size_limit() {
    // The handler stays when the listener is dropped. Where there can be none, all is as before.
    #[cfg(unix)]
    drop(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(FILE_TOO_LARGE)));
}

/// The signals of this process.
#[derive(Debug)]
pub(super) struct Signals {
    stop: watch::Sender<bool>,
    exit: Exit,
    first: Option<Instant>,
    #[cfg(unix)]
    hang_up: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            stop: watch::Sender::new(false),
            exit: Exit::Interrupted,
            first: None,
            #[cfg(unix)]
            hang_up: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?,
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
            #[cfg(unix)]
            interrupt: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?,
        })
    }

    /// Becomes true when the run shall stop.
    pub(super) fn stop(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Asks the run to stop, for another reason than a signal.
    pub(super) fn stop_now(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for a signal and says how the program would end by it. The first one asks the run to stop.
    pub(super) async fn next(&mut self) -> Signal {
        loop {
            self.exit = self.one().await;
            match self.first {
                None => {
                    self.first = Some(Instant::now());
                    self.stop.send_replace(true);
                    return Signal::First;
                }
                // `timeout` and shells signal the process and its group: one wish, two signals.
                Some(first) if first.elapsed() < ONE_WISH => {}
                Some(_) => return Signal::Again(self.exit),
            }
        }
    }

    /// How the program ends when it was stopped by a signal.
    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    #[cfg(unix)]
    async fn one(&mut self) -> Exit {
        tokio::select! {
            _ = self.terminate.recv() => Exit::Terminated,
            _ = self.hang_up.recv() => Exit::Terminated,
            _ = self.interrupt.recv() => Exit::Interrupted,
        }
    }

    #[cfg(not(unix))]
    async fn one(&mut self) -> Exit {
        // Without a handler the system's own default remains: the process ends.
        let _ = tokio::signal::ctrl_c().await;
        Exit::Interrupted
    }
}

/// A signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// The run was asked to stop.
    First,
    /// It had been asked already: end at once.
    Again(Exit),
}
