//! Serves decisions to HPA and KEDA: what flags and environment say of it, and
//! for how long.

use super::relay::Relay;
use crate::cli::{Actuator, Autoscaler, Listen};
use anyhow::{anyhow, bail};
use autoscaler::Handle;
use autoscaler::configuration::Publishing;
use publish::{Config, ExternalMetrics, FrontProxy, Keda, KeyFiles};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Time until an address that was taken is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The keys of `publish`, and the flags that set them. One that another begins
/// with comes after it.
const FLAGS: [(&str, &str); 10] = [
    (
        "external_metrics.front_proxy.allowed_names",
        "--external-metrics-client-names",
    ),
    ("external_metrics.front_proxy.authority", "--external-metrics-client-ca"),
    ("external_metrics.front_proxy", "--external-metrics-client-ca"),
    ("external_metrics.insecure_anonymous", "--external-metrics-anonymous"),
    ("external_metrics.certificate", "--external-metrics-cert"),
    ("external_metrics.listen", "--external-metrics-listen"),
    ("keda.client_authority", "--keda-client-ca"),
    ("keda.certificate", "--keda-cert"),
    ("keda.listen", "--keda-listen"),
    ("stale_after", "--decision-holds-for"),
];

/// What is to be served.
///
/// # Errors
/// What would not act or cannot be meant, by its flag.
pub(super) fn config(args: &Autoscaler, process: &Publishing) -> anyhow::Result<Config> {
    let listen = |flag: Option<Listen>, said: Option<Option<SocketAddr>>| flag.map(|flag| flag.0).or(said).flatten();
    let path = |flag: &Option<PathBuf>, said: &Option<PathBuf>| flag.clone().or_else(|| said.clone());
    let external = Given {
        flag: "--external-metrics",
        listen: listen(args.external_metrics_listen, process.external_listen),
        certificate: path(&args.external_metrics_cert, &process.external_cert),
        key: path(&args.external_metrics_key, &process.external_key),
        client_ca: path(&args.external_metrics_client_ca, &process.external_client_ca),
    };
    let names = args
        .external_metrics_client_names
        .clone()
        .or_else(|| process.external_client_names.clone());
    let anonymous = args
        .external_metrics_anonymous
        .or(process.external_anonymous)
        .unwrap_or(false);
    if names.is_some() && external.client_ca.is_none() {
        bail!("--external-metrics-client-names: acts only with --external-metrics-client-ca; add it or take this out");
    }
    if anonymous && external.listen.is_none() {
        bail!("--external-metrics-anonymous: acts only with --external-metrics-listen; add it or take this out");
    }
    let keda = Given {
        flag: "--keda",
        listen: listen(args.keda_listen, process.keda_listen),
        certificate: path(&args.keda_cert, &process.keda_cert),
        key: path(&args.keda_key, &process.keda_key),
        client_ca: path(&args.keda_client_ca, &process.keda_client_ca),
    };
    if args.actuator == Actuator::Observe
        && let Some(given) = [&external, &keda].into_iter().find(|given| given.listen.is_some())
    {
        bail!(
            "--actuator observe: it publishes nothing, so {}-listen has nothing to serve; take one of the two out",
            given.flag
        );
    }
    let holds_for = args.decision_holds_for.or(process.holds_for);
    if holds_for.is_some() && args.actuator == Actuator::Observe {
        bail!("--actuator observe: it publishes nothing that --decision-holds-for could end; take one of the two out");
    }
    let default = Config::default();
    let config = Config {
        external_metrics: external.check()?.map(|(listen, certificate)| ExternalMetrics {
            certificate,
            front_proxy: external.client_ca.map(|authority| FrontProxy {
                authority,
                allowed_names: names.unwrap_or_default(),
            }),
            insecure_anonymous: anonymous,
            ..ExternalMetrics::on(listen)
        }),
        keda: keda.check()?.map(|(listen, certificate)| Keda {
            certificate,
            client_authority: keda.client_ca,
            ..Keda::on(listen)
        }),
        stale_after: holds_for.unwrap_or(default.stale_after),
        ..default
    };
    config.validate().map_err(|error| flagged(&error))?;
    Ok(config)
}

/// The flags of one server.
struct Given {
    /// What their names begin with.
    flag: &'static str,
    listen: Option<SocketAddr>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
}

impl Given {
    /// Its address, if there is one, and its certificate.
    fn check(&self) -> anyhow::Result<Option<(SocketAddr, Option<KeyFiles>)>> {
        let flag = self.flag;
        let certificate = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some(KeyFiles {
                certificate: certificate.clone(),
                key: key.clone(),
            }),
            (None, None) => None,
            (Some(_), None) => bail!("{flag}-cert: needs its key; add {flag}-key"),
            (None, Some(_)) => bail!("{flag}-key: needs its certificate; add {flag}-cert"),
        };
        if self.listen.is_none() {
            let of = [(certificate.is_some(), "cert"), (self.client_ca.is_some(), "client-ca")];
            if let Some((_, which)) = of.iter().find(|(given, _)| *given) {
                bail!("{flag}-{which}: acts only with {flag}-listen; add it or take this out");
            }
        }
        Ok(self.listen.map(|listen| (listen, certificate)))
    }
}

/// An error of `publish`, in the words of the command line.
pub(crate) fn flagged(error: &publish::Error) -> anyhow::Error {
    let text = FLAGS
        .iter()
        .fold(error.to_string(), |text, (key, flag)| text.replace(key, flag));
    anyhow!(text)
}

/// Opens everything once and closes it: an address that is taken or a file
/// that cannot be used is told at the start, not when this process first leads.
///
/// # Errors
/// What cannot be used, by its flag.
pub(super) async fn rehearse(config: &Config) -> anyhow::Result<()> {
    let nobody = CancellationToken::new();
    let decisions = Arc::new(Nothing(watch::Sender::new(0)));
    let running = publish::serve(config.clone(), decisions, nobody.clone())
        .await
        .map_err(|error| flagged(&error))?;
    nobody.cancel();
    running.stopped().await;
    Ok(())
}

/// No variants at all.
struct Nothing(watch::Sender<u64>);

impl publish::Decisions for Nothing {
    fn variants(&self) -> Arc<[publish::Published]> {
        Arc::new([])
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

/// Who answers HPA and KEDA, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    /// This process does: it leads.
    Here,
    /// The one that leads, at this address.
    There(IpAddr),
    /// Nobody that is known.
    Nobody,
}

impl Answers {
    fn of(handle: &Handle) -> Self {
        match (handle.leads(), handle.leader_ip()) {
            (true, _) => Self::Here,
            (false, Some(ip)) => Self::There(ip),
            (false, None) => Self::Nobody,
        }
    }
}

/// Serves while this process leads, until `stop`. One that does not lead hands
/// connections on to the one that does: behind one Service, whichever address a
/// connection takes, the leader answers it, and it ends with its term. Where the
/// leader's address is not known nobody listens.
pub(super) async fn serve_or_relay(config: Config, handle: Handle, stop: CancellationToken) {
    let listens = listens(&config);
    if listens.is_empty() {
        return;
    }
    let mut passes = handle.changed();
    while !stop.is_cancelled() {
        let answers = Answers::of(&handle);
        let term = stop.child_token();
        let begun = match answers {
            Answers::Here => serve(&config, &handle, &term).await,
            Answers::There(leader) => relay(&listens, leader, &term).await,
            Answers::Nobody => Ok(tokio::spawn(async {})),
        };
        match begun {
            Ok(running) => {
                until(&mut passes, &stop, || Answers::of(&handle) != answers).await;
                term.cancel();
                // A panic has been printed where it happened.
                let _ = running.await;
            }
            Err(error) => {
                tracing::error!(error, "decisions cannot be published; trying again");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        }
    }
}

async fn serve(config: &Config, handle: &Handle, term: &CancellationToken) -> Result<JoinHandle<()>, String> {
    let decisions = Arc::new(handle.clone());
    let running = publish::serve(config.clone(), decisions, term.clone())
        .await
        .map_err(|error| flagged(&error).to_string())?;
    tracing::info!(
        external_metrics = running.external_metrics.map(tracing::field::display),
        keda = running.keda.map(tracing::field::display),
        "publishing decisions"
    );
    Ok(tokio::spawn(async move { running.stopped().await }))
}

async fn relay(listens: &[SocketAddr], leader: IpAddr, term: &CancellationToken) -> Result<JoinHandle<()>, String> {
    let mut relays = Vec::new();
    // A port that was anybody's choice says nothing of the leader's.
    for listen in listens.iter().filter(|listen| listen.port() != 0) {
        let to = SocketAddr::new(leader, listen.port());
        let relay = Relay::listen(*listen, to).await;
        relays.push(relay.map_err(|error| format!("{listen}: {error}"))?);
    }
    tracing::info!(%leader, "handing questions about decisions on to the one that leads");
    let running = relays.into_iter().map(|relay| relay.run(term.clone()));
    let running = futures::future::join_all(running);
    Ok(tokio::spawn(async {
        running.await;
    }))
}

/// Every address that is listened on.
fn listens(config: &Config) -> Vec<SocketAddr> {
    let external = config.external_metrics.as_ref().map(|external| external.listen);
    let keda = config.keda.as_ref().map(|keda| keda.listen);
    external.into_iter().chain(keda).collect()
}

/// Waits for a pass after which `holds`; false if everything stops before.
async fn until(passes: &mut watch::Receiver<u64>, stop: &CancellationToken, holds: impl Fn() -> bool) -> bool {
    loop {
        if stop.is_cancelled() {
            return false;
        }
        if holds() {
            return true;
        }
        tokio::select! {
            () = stop.cancelled() => return false,
            passed = passes.changed() => if passed.is_err() {
                return false;
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use autoscaler::configuration::Process;
    use clap::Parser;

    fn read(flags: &[&str], env: &[(&str, &str)]) -> anyhow::Result<Config> {
        let line = ["tidegate", "autoscaler"].iter().chain(flags);
        let Command::Autoscaler(args) = Cli::try_parse_from(line)?.command else {
            bail!("another verb")
        };
        let of_env = |key: &str| {
            env.iter()
                .find(|(name, _)| *name == key)
                .map(|(_, value)| (*value).to_owned())
        };
        config(&args, &Process::read(&of_env, None)?.publishing)
    }

    #[test]
    fn every_setting_acts_and_a_flag_is_stronger_than_the_environment() {
        let env = [
            ("EXTERNAL_METRICS_LISTEN", ":6443"),
            ("EXTERNAL_METRICS_CERT", "env.crt"),
            ("EXTERNAL_METRICS_KEY", "env.key"),
            ("EXTERNAL_METRICS_CLIENT_CA", "env-ca.crt"),
            ("EXTERNAL_METRICS_CLIENT_NAMES", "a, b"),
            ("KEDA_LISTEN", "127.0.0.1:9090"),
            ("KEDA_CERT", "keda.crt"),
            ("KEDA_KEY", "keda.key"),
            ("KEDA_CLIENT_CA", "keda-ca.crt"),
            ("DECISION_HOLDS_FOR", "30s"),
        ];
        let files = |certificate: &str, key: &str| {
            Some(KeyFiles {
                certificate: certificate.into(),
                key: key.into(),
            })
        };
        let config = read(
            &["--external-metrics-key", "flag.key", "--keda-listen", "127.0.0.1:9091"],
            &env,
        )
        .unwrap();
        let external = config.external_metrics.unwrap();
        assert_eq!(external.listen, ([0, 0, 0, 0], 6443).into());
        assert_eq!(external.certificate, files("env.crt", "flag.key"));
        let proxy = external.front_proxy.unwrap();
        assert_eq!(proxy.authority, PathBuf::from("env-ca.crt"));
        assert_eq!(proxy.allowed_names, ["a", "b"]);
        let keda = config.keda.unwrap();
        assert_eq!(keda.listen, ([127, 0, 0, 1], 9091).into());
        assert_eq!(keda.certificate, files("keda.crt", "keda.key"));
        assert_eq!(keda.client_authority, Some("keda-ca.crt".into()));
        assert_eq!(config.stale_after, Duration::from_secs(30));
        assert_eq!(read(&[], &[]).unwrap(), Config::default());
        let open = read(&["--external-metrics-listen=:0", "--external-metrics-anonymous"], &[]).unwrap();
        assert!(open.external_metrics.unwrap().insecure_anonymous);
    }

    #[test]
    fn what_is_wrong_is_told_by_its_flag() {
        let on = "--external-metrics-listen=127.0.0.1:0";
        for (flags, words) in [
            (
                &["--external-metrics-listen=:6443"][..],
                &[
                    "--external-metrics-listen 0.0.0.0:6443",
                    "--external-metrics-client-ca",
                    "--external-metrics-anonymous",
                ][..],
            ),
            (
                &["--external-metrics-client-ca=a"],
                &["--external-metrics-client-ca: acts only with --external-metrics-listen"],
            ),
            (
                &[on, "--external-metrics-cert=a"],
                &["--external-metrics-cert: needs its key"],
            ),
            (
                &[on, "--external-metrics-key=a"],
                &["--external-metrics-key: needs its certificate"],
            ),
            (
                &[on, "--external-metrics-client-names=a"],
                &["--external-metrics-client-names: acts only with"],
            ),
            (
                &[on, "--external-metrics-client-ca=a", "--external-metrics-client-names="],
                &["--external-metrics-client-names holds an empty name"],
            ),
            (
                &[on, "--external-metrics-client-ca=a", "--external-metrics-anonymous"],
                &["--external-metrics-anonymous contradicts --external-metrics-client-ca"],
            ),
            (
                &["--external-metrics-anonymous"],
                &["--external-metrics-anonymous: acts only with"],
            ),
            (
                &["--keda-cert=a", "--keda-key=b"],
                &["--keda-cert: acts only with --keda-listen"],
            ),
            (
                &["--keda-listen=:0", "--keda-client-ca=a"],
                &["--keda-client-ca needs TLS; set --keda-cert"],
            ),
            (
                &["--actuator=observe", "--keda-listen=:0"],
                &["--actuator observe: it publishes nothing, so --keda-listen has nothing to serve"],
            ),
            (
                &["--actuator=observe", "--decision-holds-for=30s"],
                &["--actuator observe: it publishes nothing that --decision-holds-for could end"],
            ),
            (
                &["--keda-listen=:0", "--decision-holds-for=10ms"],
                &["--decision-holds-for is below one second"],
            ),
        ] {
            let error = format!("{:#}", read(flags, &[]).unwrap_err());
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_told_at_the_start() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let config = read(&["--keda-listen", &address], &[]).unwrap();
        let error = rehearse(&config).await.unwrap_err().to_string();
        assert!(
            error.contains(&format!("--keda-listen: cannot listen on {address}")),
            "{error}"
        );
    }

    const DEPLOYMENT: &str = include_str!("../../../../deploy/autoscaler/3-deployment.yaml");
    const SETTINGS: &str = include_str!("../../../../deploy/external-metrics/1-settings.yaml");
    const SERVICES: [&str; 2] = [
        include_str!("../../../../deploy/external-metrics/2-service.yaml"),
        include_str!("../../../../deploy/external-metrics/3-apiservice.yaml"),
    ];

    fn yaml(text: &str) -> serde_json::Value {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn the_manifests_say_what_the_program_understands() {
        let deployment = yaml(DEPLOYMENT);
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let args = container["args"].as_array().unwrap().iter().skip(1);
        let flags: Vec<&str> = args.map(|flag| flag.as_str().unwrap()).collect();
        let plain = read(&flags, &[]).unwrap();
        assert!(plain.external_metrics.is_none());
        let ports = container["ports"].as_array().unwrap();
        let port = |name: &str| ports.iter().find(|port| port["name"] == name).unwrap()["containerPort"].as_u64();
        assert_eq!(port("keda"), plain.keda.map(|keda| keda.listen.port().into()));

        let settings = yaml(SETTINGS);
        assert_eq!(
            settings["metadata"]["name"],
            container["envFrom"][0]["configMapRef"]["name"]
        );
        let data = settings["data"].as_object().unwrap();
        let env: Vec<_> = data
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str().unwrap()))
            .collect();
        let external = read(&flags, &env).unwrap().external_metrics.unwrap();
        assert_eq!(port("external"), Some(external.listen.port().into()));
        let mounted = container["volumeMounts"][0]["mountPath"].as_str().unwrap();
        assert!(external.front_proxy.unwrap().authority.starts_with(mounted));
    }

    #[test]
    fn the_page_registers_the_api_as_the_manifests_do() {
        let page = include_str!("../../../../docs/scaling/hpa.md");
        let shown: Vec<_> = page
            .split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
            .map(yaml)
            .collect();
        for manifest in SERVICES.map(yaml) {
            let same = |shown: &&serde_json::Value| shown["kind"] == manifest["kind"];
            let shown = shown.iter().find(same).unwrap();
            assert_eq!(shown["spec"], manifest["spec"]);
            assert_eq!(shown["metadata"]["name"], manifest["metadata"]["name"]);
        }
    }
}
