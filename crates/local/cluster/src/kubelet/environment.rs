//! The environment and command line of a container, from its Pod and the
//! objects it refers to. Pure: who calls has read those objects.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, Pod, Secret};

/// Environment variables by name.
pub(crate) type Env = BTreeMap<String, String>;

/// What a Pod has been given on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) node: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) gpus: Vec<u32>,
}

/// The ConfigMaps and Secrets a container names; `None` stands for one that is not there.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) config_maps: BTreeMap<String, Option<ConfigMap>>,
    pub(crate) secrets: BTreeMap<String, Option<Secret>>,
}

/// The names of the ConfigMaps and of the Secrets that the container's environment needs.
pub(crate) fn needs(container: &Container) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut config_maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for from in container.env_from.iter().flatten() {
        config_maps.extend(from.config_map_ref.iter().map(|r| r.name.clone()));
        secrets.extend(from.secret_ref.iter().map(|r| r.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
        config_maps.extend(source.config_map_key_ref.iter().map(|r| r.name.clone()));
        secrets.extend(source.secret_key_ref.iter().map(|r| r.name.clone()));
    }
    (config_maps, secrets)
}

/// The container's whole environment beyond what it inherits.
///
/// # Errors
/// In words, naming the object and key that is missing, or the field that cannot be given.
pub(crate) fn build(pod: &Pod, container: &Container, place: &Place, sources: &Sources) -> Result<Env, String> {
    let mut env = ours(pod, container, place);
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            match sources.config_maps.get(&reference.name).and_then(Option::as_ref) {
                Some(map) => {
                    env.extend(
                        map.data
                            .iter()
                            .flatten()
                            .map(|(k, v)| (format!("{prefix}{k}"), v.clone())),
                    );
                }
                None if reference.optional == Some(true) => {}
                None => return Err(format!("configmap {:?} not found", reference.name)),
            }
        }
        if let Some(reference) = &from.secret_ref {
            match sources.secrets.get(&reference.name).and_then(Option::as_ref) {
                Some(secret) => {
                    let data = secret.data.iter().flatten();
                    env.extend(data.map(|(k, v)| (format!("{prefix}{k}"), String::from_utf8_lossy(&v.0).into_owned())));
                }
                None if reference.optional == Some(true) => {}
                None => return Err(format!("secret {:?} not found", reference.name)),
            }
        }
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value(variable, pod, container, place, sources, &env)? {
            env.insert(variable.name.clone(), value);
        }
    }
    // A name with `=` or a NUL anywhere cannot be passed to a process.
    match env
        .iter()
        .find(|(k, v)| k.is_empty() || k.contains(['=', '\0']) || v.contains('\0'))
    {
        Some((name, _)) => Err(format!(
            "environment variable {name:?} cannot be passed: '=' or NUL in it"
        )),
        None => Ok(env),
    }
}

fn ours(pod: &Pod, container: &Container, place: &Place) -> Env {
    let address = place.address.to_string();
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let mut env = Env::from([
        ("HOST".to_owned(), address.clone()),
        ("POD_IP".to_owned(), address),
        ("POD_NAME".to_owned(), text(&pod.metadata.name)),
        ("POD_NAMESPACE".to_owned(), text(&pod.metadata.namespace)),
        ("NODE_NAME".to_owned(), place.node.clone()),
        ("CUDA_VISIBLE_DEVICES".to_owned(), join(&place.gpus)),
    ]);
    if let Some(port) = container.ports.iter().flatten().next() {
        env.insert("PORT".to_owned(), port.container_port.to_string());
    }
    env
}

fn join(indices: &[u32]) -> String {
    indices.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

fn value(
    variable: &EnvVar,
    pod: &Pod,
    container: &Container,
    place: &Place,
    sources: &Sources,
    env: &Env,
) -> Result<Option<String>, String> {
    let Some(from) = &variable.value_from else {
        return Ok(Some(expand(variable.value.as_deref().unwrap_or_default(), env)));
    };
    if let Some(reference) = &from.field_ref {
        return field(&reference.field_path, pod, place).map(Some);
    }
    if let Some(reference) = &from.resource_field_ref {
        return resource(&reference.resource, container).map(Some);
    }
    if let Some(reference) = &from.config_map_key_ref {
        let map = sources.config_maps.get(&reference.name).and_then(Option::as_ref);
        let found = map.and_then(|m| m.data.as_ref()?.get(&reference.key).cloned());
        return found_or(
            found,
            reference.optional,
            "configmap",
            &reference.name,
            &reference.key,
            map.is_some(),
        );
    }
    if let Some(reference) = &from.secret_key_ref {
        let secret = sources.secrets.get(&reference.name).and_then(Option::as_ref);
        let found = secret.and_then(|s| s.data.as_ref()?.get(&reference.key));
        let found = found.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned());
        return found_or(
            found,
            reference.optional,
            "secret",
            &reference.name,
            &reference.key,
            secret.is_some(),
        );
    }
    Err(format!(
        "env {}: this kind of valueFrom is not given by the process kubelet",
        variable.name
    ))
}

fn found_or(
    found: Option<String>,
    optional: Option<bool>,
    kind: &str,
    name: &str,
    key: &str,
    object: bool,
) -> Result<Option<String>, String> {
    match found {
        Some(value) => Ok(Some(value)),
        None if optional == Some(true) => Ok(None),
        None if object => Err(format!("couldn't find key {key} in {kind} {name}")),
        None => Err(format!("{kind} {name:?} not found")),
    }
}

fn field(path: &str, pod: &Pod, place: &Place) -> Result<String, String> {
    let meta = &pod.metadata;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let entry = |map: &Option<BTreeMap<String, String>>, key: &str| {
        map.as_ref().and_then(|m| m.get(key).cloned()).unwrap_or_default()
    };
    let subscript = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']").map(str::to_owned);
    if let Some(key) = subscript("metadata.labels['") {
        return Ok(entry(&meta.labels, &key));
    }
    if let Some(key) = subscript("metadata.annotations['") {
        return Ok(entry(&meta.annotations, &key));
    }
    Ok(match path {
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "spec.nodeName" => place.node.clone(),
        "spec.serviceAccountName" => pod
            .spec
            .as_ref()
            .map(|s| text(&s.service_account_name))
            .unwrap_or_default(),
        "status.podIP" | "status.podIPs" => place.address.to_string(),
        "status.hostIP" | "status.hostIPs" => Ipv4Addr::LOCALHOST.to_string(),
        other => {
            return Err(format!(
                "fieldRef {other:?} is not a field of a Pod that a container can be given"
            ));
        }
    })
}

fn resource(name: &str, container: &Container) -> Result<String, String> {
    let resources = container.resources.as_ref();
    let (list, key) = match name.split_once('.') {
        Some(("limits", key)) => (resources.and_then(|r| r.limits.as_ref()), key),
        Some(("requests", key)) => (resources.and_then(|r| r.requests.as_ref()), key),
        _ => {
            return Err(format!(
                "resourceFieldRef {name:?} must start with limits. or requests."
            ));
        }
    };
    let units = list
        .and_then(|l| l.get(key))
        .and_then(crate::quantity::units)
        .unwrap_or(0);
    Ok(units.to_string())
}

/// Kubernetes' expansion: `$(VAR)` is the variable if there is one, else stays; `$$` is `$`.
pub(crate) fn expand(text: &str, env: &Env) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            match env.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// The program and its arguments. The image is not run, so the command must be said.
///
/// # Errors
/// In words with the remedy: no command, no such program, not executable.
pub(crate) fn command_line(
    container: &Container,
    env: &Env,
    own_exe: &Path,
    search: Option<&OsStr>,
    folder: &Path,
) -> Result<(PathBuf, Vec<String>), String> {
    let words = container
        .command
        .iter()
        .flatten()
        .chain(container.args.iter().flatten());
    let mut words = words.map(|word| expand(word, env));
    let program = match (container.command.as_deref(), words.next()) {
        (Some([_, ..]), Some(program)) if !program.is_empty() => program,
        _ => {
            return Err(format!(
                "container {:?} has no command; images are not run here, so say its command in the Pod template",
                container.name
            ));
        }
    };
    let args: Vec<String> = words.collect();
    if program.contains('\0') || args.iter().any(|arg| arg.contains('\0')) {
        return Err(format!(
            "the command of container {:?} holds a NUL character; take it out",
            container.name
        ));
    }
    if program == "tidegate" {
        return Ok((own_exe.to_owned(), args));
    }
    find(&program, env.get("PATH").map(OsStr::new).or(search), folder).map(|path| (path, args))
}

fn find(program: &str, search: Option<&OsStr>, folder: &Path) -> Result<PathBuf, String> {
    let executable = |path: &Path| {
        path.metadata()
            .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        let path = folder.join(program);
        return match path.metadata() {
            Ok(_) if executable(&path) => Ok(path),
            Ok(_) => Err(format!(
                "command is not an executable file: {program}; chmod +x it or give another path"
            )),
            Err(_) => Err(format!("command not found: {program}; install it or correct its path")),
        };
    }
    let found = search
        .into_iter()
        .flat_map(std::env::split_paths)
        .map(|dir| folder.join(dir).join(program))
        .find(|p| executable(p));
    found.ok_or_else(|| format!("command not found: {program}; install it or give its path"))
}

#[cfg(test)]
#[path = "environment/tests.rs"]
mod tests;
