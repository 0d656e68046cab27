//! A child process that is gone when we are.
//!
//! A thread of its own starts it, looks after it and reaps it. On Linux the kernel kills the child when that thread is
//! gone, however this process ends; elsewhere a child survives a SIGKILL of ours, and only that.

use std::collections::VecDeque;
use std::io::{PipeReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Words;

/// Bytes of the child's output that are kept: its last ones.
const KEPT: usize = 16 << 10;

/// How often its thread looks whether it still runs.
const LOOK: Duration = Duration::from_millis(50);

/// How long it may take to end when asked. llama-server does not heed SIGTERM while it answers, and has nothing to save.
const GRACE: Duration = Duration::from_secs(1);

/// How long the last words of a child that has ended are waited for: a grandchild may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A running child. Dropped, it is asked to end, and killed where it does not.
#[derive(Debug)]
pub(super) struct Child {
    orders: Sender<Order>,
    life: watch::Receiver<Life>,
    log: Log,
    thread: Option<JoinHandle<()>>,
}

/// Whether a child runs.
#[derive(Debug, Clone, Copy)]
enum Life {
    /// It does.
    Runs,
    /// It has ended; how, if that is known.
    Ended(Option<ExitStatus>),
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Stop,
    Kill,
}

impl Child {
    /// Starts `command` with its output kept in memory.
    pub(super) fn start(command: Command) -> std::io::Result<Self> {
        let (orders, inbox) = mpsc::channel();
        let (over, life) = watch::channel(Life::Runs);
        let (begun, beginning) = mpsc::channel();
        let thread = thread::Builder::new().name("llama-server".to_owned()).spawn(move || {
            match begin(command) {
                Ok((child, log)) => {
                    // Nobody listens where the caller is gone already: the closed inbox then ends the child.
                    let _ = begun.send(Ok(log));
                    let status = guard(child, &inbox);
                    over.send_replace(Life::Ended(status));
                }
                Err(error) => {
                    let _ = begun.send(Err(error));
                }
            }
        })?;
        let log = beginning.recv().map_err(std::io::Error::other)??;
        Ok(Self { orders, life, log, thread: Some(thread) })
    }

    /// Waits until the child has ended by itself.
    pub(super) async fn ended(&self) {
        // An error means that its thread is gone, and the child with it.
        let _ = self.life.clone().wait_for(|life| matches!(life, Life::Ended(_))).await;
    }

    /// How it ended, as far as that is known.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        match *self.life.borrow() {
            Life::Ended(status) => status,
            Life::Runs => None,
        }
    }

    /// The last lines that it wrote.
    pub(super) fn words(&self) -> Words {
        if matches!(*self.life.borrow(), Life::Ended(_)) {
            self.log.finish();
        }
        Words::of(&self.log.bytes())
    }

    /// Kills it now.
    pub(super) fn kill(&self) {
        // Fails where it has ended.
        let _ = self.orders.send(Order::Kill);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts the child from this thread, which has to live as long as it.
fn begin(mut command: Command) -> std::io::Result<(std::process::Child, Log)> {
    let (output, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    #[cfg(unix)]
    {
        // A Ctrl-C in the terminal goes to the foreground group: what is in flight must still be answered.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
    }
    #[cfg(target_os = "linux")]
    die_with_this_thread(&mut command);
    let child = command.spawn()?;
    Ok((child, Log::of(output)?))
}

/// Has the kernel kill the child when the thread that starts it is gone (prctl(2), `PR_SET_PDEATHSIG`).
#[cfg(target_os = "linux")]
fn die_with_this_thread(command: &mut Command) {
    use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
    let parent = i32::try_from(std::process::id()).ok().and_then(Pid::from_raw);
    let before_exec = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // We may have gone between fork and prctl: then nobody would send the signal.
        if getppid() == parent { Ok(()) } else { Err(std::io::Error::from(rustix::io::Errno::SRCH)) }
    };
    #[expect(
        unsafe_code,
        reason = "between fork and exec only async-signal-safe calls are allowed: these are two system calls, \
                  and neither allocates nor locks"
    )]
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(command, before_exec);
    }
}

/// Looks after the child until it has ended, and says how.
fn guard(mut child: std::process::Child, orders: &Receiver<Order>) -> Option<ExitStatus> {
    let mut kill_at: Option<Instant> = None;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) => {}
            Err(_) => break None,
        }
        if kill_at.is_some_and(|at| at <= Instant::now()) {
            kill(&mut child);
        }
        match orders.recv_timeout(LOOK) {
            Ok(Order::Stop) => {
                ask_to_end(&mut child);
                kill_at.get_or_insert(Instant::now() + GRACE);
            }
            Ok(Order::Kill) => kill(&mut child),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                kill(&mut child);
                break child.wait().ok();
            }
        }
    };
    // A wrapper script may have left its own children behind.
    kill(&mut child);
    status
}

/// Asks the child's group to end: where the program is a script, its children too.
fn ask_to_end(child: &mut std::process::Child) {
    #[cfg(unix)]
    let _ = rustix::process::kill_process_group(
        rustix::process::Pid::from_child(child),
        rustix::process::Signal::TERM,
    );
    #[cfg(not(unix))]
    let _ = child.kill();
}

/// Kills the child's group. Fails where nobody is left in it.
fn kill(child: &mut std::process::Child) {
    #[cfg(unix)]
    let _ = rustix::process::kill_process_group(
        rustix::process::Pid::from_child(child),
        rustix::process::Signal::KILL,
    );
    #[cfg(not(unix))]
    let _ = child.kill();
}

/// The last bytes of a child's output, which a thread reads as they come: the child never waits for us.
#[derive(Debug)]
struct Log {
    kept: Arc<Mutex<VecDeque<u8>>>,
    /// Closed when there is nothing more to read.
    open: Mutex<Receiver<()>>,
}

impl Log {
    fn of(mut output: PipeReader) -> std::io::Result<Self> {
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let shared = Arc::clone(&kept);
        let (reading, open) = mpsc::channel::<()>();
        thread::Builder::new().name("llama-server log".to_owned()).spawn(move || {
            let mut block = [0; 4096];
            while let Ok(n) = output.read(&mut block)
                && n > 0
            {
                let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(&block[..n]);
                let surplus = kept.len().saturating_sub(KEPT);
                kept.drain(..surplus);
            }
            drop(reading);
        })?;
        Ok(Self { kept, open: Mutex::new(open) })
    }

    /// Waits until all that an ended child wrote is read.
    fn finish(&self) {
        let _ = self.open.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(LAST_WORDS);
    }

    fn bytes(&self) -> Vec<u8> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}
