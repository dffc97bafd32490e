//! One server process that surely ends: when its handle is dropped, and also when the test process is SIGKILLed.
//!
//! No destructor runs in a killed process, and asking the kernel to tie two processes together takes unsafe code. A
//! pipe does it: a tiny shell supervisor (supervisor.sh) reads from it, and when the last writer is gone, for whatever
//! reason, it kills the server and removes its folder. The same pipe carries the signals, so a signal can never hit
//! a foreign process that inherited the pid.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Error;
use crate::ports::PortLease;

/// How long the supervisor may take to answer; it takes about a millisecond on an idle machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be sent to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Kill,
    Stop,
    Continue,
    Terminate,
}

impl Signal {
    fn word(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
            Self::Terminate => "TERM",
        }
    }
}

/// A running (or ended) server process and its supervisor.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    orders: Mutex<Option<ChildStdin>>,
    news: Arc<News>,
}

/// What the supervisor has said so far.
#[derive(Debug, Default)]
struct Told {
    pid: Option<u32>,
    signals: u64,
    exit: Option<i32>,
    gone: bool,
}

#[derive(Debug, Default)]
struct News {
    told: Mutex<Told>,
    changed: Condvar,
}

impl Process {
    /// Starts `binary` with `args`. The supervisor writes its output to `server.log` in `folder`, and removes
    /// the folder at the end; `leases` are given back when the server has surely ended.
    pub(crate) fn spawn(
        binary: &Path,
        args: &[OsString],
        folder: &Path,
        leases: Arc<Vec<PortLease>>,
    ) -> Result<Self, Error> {
        let doing = || format!("starting {} under /bin/sh", binary.display());
        let mut child = Command::new("/bin/sh")
            .args(["-c", include_str!("supervisor.sh"), "raptor-testkit"])
            .arg(folder)
            .arg(binary)
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C goes to the terminal's whole group; the servers end by the pipe instead, folder and all.
            .process_group(0)
            .spawn()
            .map_err(Error::io(doing()))?;
        let orders = child.stdin.take();
        let news = Arc::new(News::default());
        let heard = Arc::clone(&news);
        std::thread::Builder::new()
            .name("raptor-testkit".to_owned())
            .spawn(move || {
                listen(child, &heard);
                drop(leases);
            })
            .map_err(Error::io(doing()))?;
        let told = news.wait(|told| told.pid.is_some() || told.gone);
        let pid = told.pid;
        drop(told);
        match pid {
            Some(pid) => Ok(Self { pid, orders: Mutex::new(orders), news }),
            None => Err(Error::io(doing())(std::io::ErrorKind::BrokenPipe.into())),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The exit status as a shell reports it (137 after SIGKILL), once the process has ended.
    pub(crate) fn exit_status(&self) -> Option<i32> {
        self.news.lock().exit
    }

    /// Sends a signal and returns when it has been sent. `false`: there is no process any more.
    pub(crate) fn signal(&self, signal: Signal) -> Result<bool, Error> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let before = {
            let told = self.news.lock();
            if told.exit.is_some() || told.gone {
                return Ok(false);
            }
            told.signals
        };
        let doing = || format!("sending SIG{} to server process {}", signal.word(), self.pid);
        if let Some(orders) = orders.as_mut() {
            writeln!(orders, "{}", signal.word()).map_err(Error::io(doing()))?;
        }
        let told = self.news.wait(|told| told.signals > before || told.exit.is_some() || told.gone);
        if told.signals > before || told.exit.is_some() || told.gone {
            return Ok(true);
        }
        Err(Error::io(doing())(std::io::ErrorKind::TimedOut.into()))
    }

    /// Sends SIGKILL and waits until the process has ended, which takes a few milliseconds.
    pub(crate) fn kill(&self) -> Result<(), Error> {
        self.signal(Signal::Kill)?;
        self.wait_exit()
    }

    /// Waits until the process has ended. Blocks the thread.
    pub(crate) fn wait_exit(&self) -> Result<(), Error> {
        let told = self.news.wait(|told| told.exit.is_some() || told.gone);
        if told.exit.is_some() || told.gone {
            return Ok(());
        }
        let doing = format!("waiting for the end of server process {}", self.pid);
        Err(Error::io(doing)(std::io::ErrorKind::TimedOut.into()))
    }

    /// After the process has ended: dismisses the supervisor, so that the folder stays for the next process.
    pub(crate) fn leave_folder(&self) -> Result<(), Error> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut orders) = orders.take() {
            let doing = "dismissing a server's supervisor";
            writeln!(orders, "leave").map_err(Error::io(doing))?;
        }
        drop(self.news.wait(|told| told.gone));
        Ok(())
    }

    /// Ends the process and waits until it, its supervisor and its folder are gone. Blocks the thread.
    pub(crate) fn end(&self) {
        drop(self.orders.lock().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.news.wait(|told| told.gone));
    }
}

impl News {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, enough: impl Fn(&Told) -> bool) -> MutexGuard<'_, Told> {
        let waited = self.changed.wait_timeout_while(self.lock(), PATIENCE, |told| !enough(told));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

/// Reads the supervisor's lines until it ends, then reaps it, so that no zombie stays.
fn listen(mut child: Child, news: &News) {
    let lines = child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines);
    for line in lines.map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("pid", pid)) => news.tell(|told| told.pid = pid.parse().ok()),
            Some(("sent", _)) => news.tell(|told| told.signals += 1),
            Some(("exit", status)) => news.tell(|told| told.exit = status.parse().ok().or(Some(1))),
            _ => {}
        }
    }
    let _ = child.wait();
    news.tell(|told| told.gone = true);
}
