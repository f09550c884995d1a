//! From a container's specification to a running process with its log.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::environment::{self, Place};
use super::logs::{self, LogFile};
use super::probe::Target;
use super::process::{Exit, Group, Launch, Process};
use super::sources;
use super::worker::Context;
use crate::quantity;

/// Once the process is gone its last words are waited for this long.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a container could not be started.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The reason its state shows.
    pub(crate) reason: &'static str,
    /// What is wrong and what helps.
    pub(crate) message: String,
}

/// What the worker keeps of a started process.
pub(crate) struct Started {
    pub(crate) group: Group,
    pub(crate) target: Target,
}

/// A process and the copying of its output; dropped, both end.
pub(crate) struct Running {
    process: Process,
    pumps: Vec<AbortOnDropHandle<()>>,
}

impl Running {
    /// Waits until the process and its whole group are gone and the log is written.
    pub(crate) async fn wait(&mut self) -> Exit {
        let exit = self.process.wait().await;
        let pumps = futures::future::join_all(self.pumps.drain(..));
        // A process that left the group may still hold the pipe; it is not waited for.
        let _ = tokio::time::timeout(LAST_WORDS, pumps).await;
        exit
    }
}

/// Starts one run of a container; `run` counts them from zero.
pub(crate) async fn start(
    context: &Context,
    pod: &Pod,
    spec: Container,
    place: &Place,
    run: i32,
) -> Result<(Running, Started), Failure> {
    let config = |message: String| Failure {
        reason: "CreateContainerConfigError",
        message,
    };
    let create = |message: String| Failure {
        reason: "CreateContainerError",
        message,
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let sources = sources::read(context.sources.as_ref(), namespace, &spec)
        .await
        .map_err(config)?;
    let place = Place {
        gpus: share(pod, &spec, &place.gpus),
        ..place.clone()
    };
    let env = environment::build(pod, &spec, &place, &sources).map_err(config)?;
    let folder = working_folder(&spec).map_err(create)?;
    let search = std::env::var_os("PATH");
    let (program, args) =
        environment::command_line(&spec, &env, &context.own_exe, search.as_deref(), &folder).map_err(create)?;
    let log_folder = context.folder(pod).join(&spec.name);
    let log = LogFile::create(&log_folder, run, context.log_limit).map_err(|error| {
        create(format!(
            "the log in {} cannot be written: {error}",
            log_folder.display()
        ))
    })?;
    let launch = Launch {
        program,
        args,
        env: env.clone(),
        folder: Some(folder.clone()),
    };
    let mut process = context.spawner.spawn(launch).await.map_err(|error| Failure {
        reason: "RunContainerError",
        message: format!("the process cannot be made: {error}"),
    })?;
    let (news, heard) = watch::channel(0);
    let log = Arc::new(Mutex::new(log));
    let mut pumps = Vec::new();
    if let Some(stream) = process.child.stdout.take() {
        pumps.push(AbortOnDropHandle::new(tokio::spawn(logs::pump(
            stream,
            "stdout",
            log.clone(),
            news.clone(),
        ))));
    }
    if let Some(stream) = process.child.stderr.take() {
        pumps.push(AbortOnDropHandle::new(tokio::spawn(logs::pump(
            stream, "stderr", log, news,
        ))));
    }
    context.logs.started(pod, &spec.name, log_folder, run, heard);
    let target = Target {
        address: place.address,
        container: spec,
        env,
        folder,
        own_exe: context.own_exe.clone(),
        spawner: context.spawner.clone(),
    };
    let group = process.group.clone();
    Ok((Running { process, pumps }, Started { group, target }))
}

/// GPUs a container asks for.
pub(crate) fn gpus_wanted(container: &Container) -> usize {
    let resources = container.resources.as_ref();
    let lists = [
        resources.and_then(|r| r.limits.as_ref()),
        resources.and_then(|r| r.requests.as_ref()),
    ];
    let wanted = lists
        .into_iter()
        .flatten()
        .find_map(|list| list.get(api::names::GPU_RESOURCE));
    wanted
        .and_then(quantity::units)
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(0)
}

/// The container's part of the Pod's GPUs: containers take theirs in order,
/// while init containers, which run before, may use the same.
fn share(pod: &Pod, container: &Container, gpus: &[u32]) -> Vec<u32> {
    let mains = pod.spec.as_ref().map(|s| s.containers.as_slice()).unwrap_or_default();
    let mut before = 0;
    for main in mains {
        if main.name == container.name {
            break;
        }
        before += gpus_wanted(main);
    }
    let is_main = mains.iter().any(|main| main.name == container.name);
    gpus.iter()
        .copied()
        .skip(if is_main { before } else { 0 })
        .take(gpus_wanted(container))
        .collect()
}

fn working_folder(spec: &Container) -> Result<PathBuf, String> {
    let here = std::env::current_dir().map_err(|error| format!("the current folder cannot be read: {error}"))?;
    match spec.working_dir.as_deref().filter(|dir| !dir.is_empty()) {
        None => Ok(here),
        Some(dir) => {
            let folder = here.join(dir);
            if folder.is_dir() {
                Ok(folder)
            } else {
                Err(format!(
                    "workingDir {dir} is not a folder of this machine; make it or correct it"
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_of_a_pod_share_its_gpus_without_overlap() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {},
            "spec": {"containers": [
                {"name": "a", "resources": {"limits": {"nvidia.com/gpu": "2"}}},
                {"name": "b"},
                {"name": "c", "resources": {"requests": {"nvidia.com/gpu": 1}}},
            ], "initContainers": [{"name": "i", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}
        }))
        .unwrap();
        let spec = pod.spec.as_ref().unwrap();
        let of = |container| share(&pod, container, &[4, 5, 6]);
        assert_eq!(of(&spec.containers[0]), [4, 5]);
        assert!(of(&spec.containers[1]).is_empty());
        assert_eq!(of(&spec.containers[2]), [6]);
        assert_eq!(of(&spec.init_containers.as_ref().unwrap()[0]), [4]);
    }
}
