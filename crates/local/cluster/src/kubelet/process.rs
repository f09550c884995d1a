//! Processes of this machine: start them from one thread, write each down,
//! signal whole groups, and clear away those of an earlier life.
//!
//! The kernel kills a child when the *thread* that started it ends, so one
//! thread that lives as long as the kubelet starts them all.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::environment::Env;

/// How long a killed group may take to be gone.
const GONE_DEADLINE: Duration = Duration::from_secs(5);

/// A process to start.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Env,
    pub(crate) folder: Option<PathBuf>,
}

type Request = (Launch, oneshot::Sender<io::Result<Process>>);

/// Starts processes; cheap to clone. The thread ends with the last clone.
#[derive(Clone, Debug)]
pub(crate) struct Spawner {
    requests: std::sync::mpsc::Sender<Request>,
}

impl Spawner {
    /// Starts the thread. `shim` is the command that becomes the process (see
    /// [`crate::exec_child`]); `records` is where processes are written down.
    pub(crate) fn new(shim: Vec<OsString>, records: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&records)?;
        let (requests, inbox) = std::sync::mpsc::channel::<Request>();
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("kubelet-spawner".to_owned())
            .spawn(move || {
                let _runtime = runtime.enter();
                for (launch, answer) in inbox {
                    let started = start(&shim, &records, &launch);
                    // Nobody waits any more: dropping the process kills it.
                    let _ = answer.send(started);
                }
            })?;
        Ok(Spawner { requests })
    }

    /// Starts one process.
    ///
    /// # Errors
    /// What the system says, for example that there are too many processes.
    pub(crate) async fn spawn(&self, launch: Launch) -> io::Result<Process> {
        let (answer, started) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.requests.send((launch, answer)).map_err(|_| gone())?;
        started.await.map_err(|_| gone())?
    }
}

fn start(shim: &[OsString], records: &Path, launch: &Launch) -> io::Result<Process> {
    let (shim, shim_args) = shim
        .split_first()
        .ok_or_else(|| io::Error::other("no shim command is set"))?;
    let mut command = Command::new(shim);
    command
        .args(shim_args)
        .arg("--parent")
        .arg(std::process::id().to_string())
        .arg("--")
        .arg(&launch.program)
        .args(&launch.args)
        .env_remove("PORT")
        .envs(&launch.env)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(folder) = &launch.folder {
        command.current_dir(folder);
    }
    let child = command.spawn()?;
    let raw = child.id().and_then(|id| i32::try_from(id).ok());
    let pid = raw
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("a process without id"))?;
    let pod = launch.env.get("POD_NAME").cloned().unwrap_or_default();
    let record = Record {
        pid: pid.as_raw_nonzero().get(),
        started: start_ticks(pid).unwrap_or(0),
        boot: boot_id(),
        pod,
    };
    let file = records.join(format!("{}.json", record.pid));
    std::fs::write(&file, serde_json::to_vec(&record)?)?;
    let group = Group {
        pid,
        alive: Arc::new(AtomicBool::new(true)),
    };
    Ok(Process {
        child,
        group,
        record: file,
    })
}

/// A process that runs, or has just ended.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) group: Group,
    record: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        // The child itself is killed by tokio; this gets the rest of its group.
        self.group.signal(Signal::KILL);
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Exit code; 128 plus the signal when one ended it.
    pub(crate) code: i32,
    /// The signal, if one ended it.
    pub(crate) signal: Option<i32>,
}

impl Process {
    /// Waits for the end, then sees to it that nothing of the group is left.
    pub(crate) async fn wait(&mut self) -> Exit {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.wait().await;
        self.group.end().await;
        if let Err(error) = std::fs::remove_file(&self.record) {
            tracing::debug!(%error, "the record of an ended process could not be removed");
        }
        match status {
            Ok(status) => {
                let signal = status.signal();
                Exit {
                    code: status.code().or(signal.map(|s| 128 + s)).unwrap_or(255),
                    signal,
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the end of a process could not be read");
                Exit {
                    code: 255,
                    signal: None,
                }
            }
        }
    }
}

/// The process group that a container is.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) pid: Pid,
    alive: Arc<AtomicBool>,
}

impl Group {
    /// Sends a signal to every process of the group, unless it is known to be gone.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.alive.load(Ordering::Acquire) {
            // A group that just ended cannot be signalled, and need not.
            let _ = kill_process_group(self.pid, signal);
        }
    }

    /// Kills what the leader has left behind and waits until it is gone.
    async fn end(&self) {
        let deadline = Instant::now() + GONE_DEADLINE;
        while kill_process_group(self.pid, Signal::KILL).is_ok() && !members(self.pid).is_empty() {
            if Instant::now() > deadline {
                tracing::warn!(
                    pid = self.pid.as_raw_nonzero().get(),
                    "processes of the group do not end"
                );
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.alive.store(false, Ordering::Release);
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    pid: i32,
    /// Clock ticks from boot to the start: with the pid, names one process for ever.
    started: u64,
    boot: String,
    pod: String,
}

/// Kills processes that an earlier life of the kubelet wrote down and left
/// behind, and waits until they are gone. Returns how many groups there were.
///
/// A number alone proves nothing, since the system reuses it: the leader must
/// have the start time written down, or, if it is gone, the members of its
/// group must carry the Pod's name in their environment.
pub(crate) fn clear_strays(records: &Path) -> io::Result<usize> {
    let mut strays = 0;
    std::fs::create_dir_all(records)?;
    for entry in std::fs::read_dir(records)? {
        let file = entry?.path();
        let record = std::fs::read(&file)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
        if let Some(record) = record
            && record.boot == boot_id()
            && let Some(pid) = Pid::from_raw(record.pid)
            && is_ours(pid, &record)
        {
            strays += 1;
            let deadline = Instant::now() + GONE_DEADLINE;
            while kill_process_group(pid, Signal::KILL).is_ok() && !members(pid).is_empty() && Instant::now() < deadline
            {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        std::fs::remove_file(&file)?;
    }
    Ok(strays)
}

fn is_ours(pid: Pid, record: &Record) -> bool {
    match start_ticks(pid) {
        Some(started) => started == record.started,
        None => {
            let marker = format!("POD_NAME={}", record.pod);
            let carries = |member: &i32| {
                std::fs::read(format!("/proc/{member}/environ"))
                    .is_ok_and(|env| env.split(|byte| *byte == 0).any(|entry| entry == marker.as_bytes()))
            };
            test_kill_process_group(pid).is_ok() && members(pid).iter().any(carries)
        }
    }
}

/// The fields of `/proc/PID/stat` after the command's name, which may hold anything.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn start_ticks(pid: Pid) -> Option<u64> {
    stat(pid.as_raw_nonzero().get())?.get(19)?.parse().ok()
}

/// Living members of a process group; the dead that nobody collected do not count.
fn members(group: Pid) -> Vec<i32> {
    let group = group.as_raw_nonzero().get().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|f| f.get(2) == Some(&group) && !matches!(f[0].as_str(), "Z" | "X")))
        .collect()
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}
