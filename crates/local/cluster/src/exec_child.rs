//! The shim between the kubelet and a container's process.
//!
//! `tidegate exec-child --parent PID -- COMMAND ARGS...` makes itself the leader
//! of a process group, asks the kernel to be killed when the kubelet dies,
//! makes sure that the kubelet has not died before that took hold, and then
//! becomes COMMAND. No process is left in between.

use std::ffi::OsString;
use std::io::{Error, ErrorKind};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal, setpgid};

/// Becomes the command. Returns only when that failed, with the reason.
///
/// `args` are what follows the shim's own name: `--parent PID -- COMMAND ARGS...`.
pub fn run(args: impl Iterator<Item = OsString>) -> Error {
    match prepare(args) {
        Ok(mut command) => {
            let name = command.get_program().to_string_lossy().into_owned();
            let error = command.exec();
            Error::new(error.kind(), format!("{name}: {error}"))
        }
        Err(error) => error,
    }
}

fn prepare(args: impl Iterator<Item = OsString>) -> Result<Command, Error> {
    let (parent, command, args) = parse(args)?;
    // Where the kubelet made the group already this changes nothing.
    setpgid(None, None)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != Some(parent) {
        return Err(Error::other("the process kubelet that wanted this container is gone"));
    }
    let mut prepared = Command::new(command);
    prepared.args(args);
    Ok(prepared)
}

fn parse(mut args: impl Iterator<Item = OsString>) -> Result<(Pid, OsString, Vec<OsString>), Error> {
    let usage = || {
        Error::new(
            ErrorKind::InvalidInput,
            "usage: exec-child --parent PID -- COMMAND [ARGS...]",
        )
    };
    let mut expect = |word: &str| args.next().filter(|arg| arg == word).ok_or_else(usage);
    expect("--parent")?;
    let pid = args
        .next()
        .and_then(|pid| pid.to_str()?.parse().ok())
        .and_then(Pid::from_raw)
        .ok_or_else(usage)?;
    args.next().filter(|arg| arg == "--").ok_or_else(usage)?;
    let command = args.next().ok_or_else(usage)?;
    Ok((pid, command, args.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> impl Iterator<Item = OsString> {
        text.split(' ').map(OsString::from).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn reads_its_own_words_and_keeps_the_commands() {
        let (pid, command, args) = parse(words("--parent 7 -- vllm serve -- x")).unwrap();
        assert_eq!(
            (pid.as_raw_nonzero().get(), command.to_str(), args.len()),
            (7, Some("vllm"), 3)
        );
        for bad in [
            "",
            "--parent",
            "--parent x -- a",
            "--parent 0 -- a",
            "--parent 7 --",
            "a b",
        ] {
            assert!(parse(words(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn refuses_when_the_parent_is_another() {
        // This test's own process is not its own parent. The group must stay as
        // it is, so only the parsing and the comparison are in play here.
        let me = rustix::process::getpid();
        assert_ne!(getppid(), Some(me));
    }
}
