//! A real control plane: etcd, kube-apiserver and, wanted or not, the
//! controller manager and the scheduler, as children on free loopback ports.

use super::keys::{FRONT_PROXY, Keys, TOKEN};
use super::{Access, Binaries};
use crate::child::Child;
use crate::wait_for;
use anyhow::{Context as _, Result, bail};
use http::Request;
use kube::client::Body;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// How long a part may take to become ready on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// Starts before giving up: between choosing a free port and using it another
/// program may take it.
const STARTS: usize = 3;

/// Which parts run beside etcd and the API server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Run kube-scheduler.
    pub scheduler: bool,
    /// Run kube-controller-manager. Without it nothing makes service
    /// accounts, so Pods are admitted without one.
    pub controller_manager: bool,
    /// Keep a log of who asked what and was answered how, [`ControlPlane::audit`].
    pub audit: bool,
}

/// A running control plane. Dropping it ends its processes and removes its
/// files; a process that dies without dropping it takes them along as well.
#[derive(Debug)]
pub struct ControlPlane {
    access: Access,
    authority: PathBuf,
    // Dropped in this order: clients of etcd first, files last.
    _parts: Vec<Child>,
    folder: TempDir,
}

impl ControlPlane {
    /// Starts one and waits until it is ready to be used.
    ///
    /// # Errors
    /// When the programs are missing, or a part ends or is not ready in time:
    /// the message has the end of its log.
    pub async fn start(options: &Options) -> Result<Self> {
        let binaries = tokio::task::spawn_blocking(Binaries::find).await??;
        let mut started = Self::start_once(options, &binaries).await;
        for _ in 1..STARTS {
            match started {
                Err(ref error) if format!("{error:#}").contains("address already in use") => {
                    started = Self::start_once(options, &binaries).await;
                }
                _ => break,
            }
        }
        started
    }

    /// The way to it.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The kubeconfig file of an administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        self.access.kubeconfig()
    }

    /// The audit log so far, one event of JSON per line; empty unless asked for.
    #[must_use]
    pub fn audit(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("audit.log")).unwrap_or_default()
    }

    /// The authority (PEM) that signed the client certificate of the
    /// aggregation layer, which calls itself `front-proxy-client`.
    #[must_use]
    pub fn front_proxy_authority(&self) -> &Path {
        &self.authority
    }

    /// A client, as [`Access::client`].
    ///
    /// # Errors
    /// When the kubeconfig does not make a client.
    pub async fn client(&self) -> Result<kube::Client> {
        self.access.client().await
    }

    async fn start_once(options: &Options, binaries: &Binaries) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tidegate-kube-").tempdir()?;
        let keys = Keys::make(folder.path())?;
        let [etcd, peers, secure, controllers, scheduler] = free_ports()?;
        let server = format!("https://127.0.0.1:{secure}");
        let access = Access::write(folder.path(), &server, Some(TOKEN), Some(&keys.authority))?;
        let run = |program: &str, arguments: Vec<String>| {
            Child::start(program, &binaries.path(program), arguments, folder.path())
        };

        std::fs::write(folder.path().join("audit.yaml"), AUDIT)?;
        let mut parts = vec![run("etcd", etcd_flags(folder.path(), etcd, peers))?];
        parts.push(run(
            "kube-apiserver",
            apiserver_flags(folder.path(), &keys, etcd, secure, options),
        )?);
        let client = access.client().await?;
        ready(&client, &mut parts, "/readyz").await?;
        ready(&client, &mut parts, "/api/v1/namespaces/kube-node-lease").await?;

        if options.controller_manager {
            let mut flags = controller_flags(access.kubeconfig(), folder.path(), controllers);
            flags.push(flag(
                "service-account-private-key-file",
                keys.accounts_private.display(),
            ));
            flags.push("--use-service-account-credentials".to_owned());
            parts.push(run("kube-controller-manager", flags)?);
            ready(
                &client,
                &mut parts,
                "/api/v1/namespaces/default/serviceaccounts/default",
            )
            .await?;
        }
        if options.scheduler {
            let flags = controller_flags(access.kubeconfig(), folder.path(), scheduler);
            parts.push(run("kube-scheduler", flags)?);
        }
        // Clients of etcd end before it does.
        parts.reverse();
        Ok(Self {
            access,
            authority: keys.authority,
            _parts: parts,
            folder,
        })
    }
}

/// Waits until `path` answers 200, or tells which part ended.
async fn ready(client: &kube::Client, parts: &mut [Child], path: &str) -> Result<()> {
    let look = wait_for(READY_WITHIN, async || {
        if let Some(part) = parts.iter_mut().find_map(|part| part.ended().then_some(part)) {
            return Some(Err(format!("{} ended: {}", part.name(), part.last_words())));
        }
        let request = Request::get(path).body(Body::empty()).ok()?;
        let answer = client.send(request).await.ok()?;
        answer.status().is_success().then_some(Ok(()))
    });
    match look.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(ended)) => bail!("{ended}"),
        Err(late) => Err(late).with_context(|| {
            let words: Vec<String> = parts
                .iter()
                .map(|part| format!("{}: {}", part.name(), part.last_words()))
                .collect();
            format!("{path} did not answer\n{}", words.join("\n"))
        }),
    }
}

/// Who asked what, and nothing of what was said.
const AUDIT: &str =
    "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n";

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

fn etcd_flags(folder: &Path, clients: u16, peers: u16) -> Vec<String> {
    let clients = format!("http://127.0.0.1:{clients}");
    let peers = format!("http://127.0.0.1:{peers}");
    vec![
        flag("data-dir", folder.join("etcd").display()),
        flag("listen-client-urls", &clients),
        flag("advertise-client-urls", &clients),
        flag("listen-peer-urls", &peers),
        flag("initial-advertise-peer-urls", &peers),
        flag("initial-cluster", format!("default={peers}")),
        flag("log-level", "error"),
        "--unsafe-no-fsync".to_owned(),
    ]
}

fn apiserver_flags(folder: &Path, keys: &Keys, etcd: u16, secure: u16, options: &Options) -> Vec<String> {
    let mut flags = vec![
        flag("etcd-servers", format!("http://127.0.0.1:{etcd}")),
        flag("secure-port", secure),
        flag("bind-address", "127.0.0.1"),
        flag("cert-dir", folder.display()),
        flag("tls-cert-file", keys.certificate.display()),
        flag("tls-private-key-file", keys.key.display()),
        flag("service-account-key-file", keys.accounts_public.display()),
        flag("service-account-signing-key-file", keys.accounts_private.display()),
        flag("service-account-issuer", "https://kubernetes.default.svc"),
        flag("token-auth-file", keys.tokens.display()),
        flag("authorization-mode", "RBAC"),
        flag("service-cluster-ip-range", "10.0.0.0/16"),
        flag("allow-privileged", "true"),
        flag("proxy-client-cert-file", keys.proxy_certificate.display()),
        flag("proxy-client-key-file", keys.proxy_key.display()),
        flag("requestheader-client-ca-file", keys.authority.display()),
        flag("requestheader-allowed-names", FRONT_PROXY),
        flag("requestheader-username-headers", "X-Remote-User"),
        flag("requestheader-group-headers", "X-Remote-Group"),
        flag("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
    ];
    if options.audit {
        flags.push(flag("audit-policy-file", folder.join("audit.yaml").display()));
        flags.push(flag("audit-log-path", folder.join("audit.log").display()));
    }
    if !options.controller_manager {
        flags.push(flag("disable-admission-plugins", "ServiceAccount"));
    }
    flags
}

fn controller_flags(kubeconfig: &Path, folder: &Path, port: u16) -> Vec<String> {
    let kubeconfig = kubeconfig.display();
    vec![
        flag("kubeconfig", &kubeconfig),
        flag("authentication-kubeconfig", &kubeconfig),
        flag("authorization-kubeconfig", &kubeconfig),
        flag("leader-elect", "false"),
        flag("bind-address", "127.0.0.1"),
        flag("secure-port", port),
        flag("cert-dir", folder.join(format!("certs-{port}")).display()),
    ]
}

/// Ports nobody used a moment ago, all different.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port on loopback")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
