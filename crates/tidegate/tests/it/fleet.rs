//! A running `tidegate up`, for tests: started on free ports, surely stopped.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A small fleet that starts quickly: one variant, one replica at least.
pub(crate) const SMALL: &str = r#"
nodes:
- {name: node-a, gpus: {type: H100, count: 2}}
models:
- name: small
  slo: {ttft: 500ms, itl: 50ms}
  variants:
  - name: small-h100
    gpu: H100
    cost: 1.00
    replicas: {min: 1, max: 2}
    slots: 8
    command: [tidegate, sim, --model, llama-3.1-8b, --served-model-name, small, --gpu-type, H100, --max-num-seqs, "8", --startup, 100ms]
"#;

pub(crate) struct Fleet {
    child: Child,
    data: PathBuf,
    endpoints: serde_json::Value,
}

impl Fleet {
    /// Starts `tidegate up` with the data folder `data` and the fleet `yaml`.
    pub(crate) fn start(data: &Path, yaml: &str, network: &str) -> Self {
        Self::start_with(data, yaml, network, &[])
    }

    /// The same with further flags.
    pub(crate) fn start_with(data: &Path, yaml: &str, network: &str, flags: &[&str]) -> Self {
        std::fs::create_dir_all(data).unwrap();
        let file = data.with_extension("yaml");
        std::fs::write(&file, yaml).unwrap();
        let log = std::fs::File::create(data.with_extension("out")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command
            .args(["up", "--pod-network", network, "--fleet"])
            .arg(&file)
            .arg("--data-dir")
            .arg(data);
        for flag in [
            "--listen",
            "--dashboard",
            "--api",
            "--gateway-admin",
            "--autoscaler-admin",
            "--keda-listen",
        ] {
            command.args([flag, "127.0.0.1:0"]);
        }
        command
            .args(flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        // An endpoints file of an earlier life must not be taken for this one's.
        let _ = std::fs::remove_file(data.join("endpoints.json"));
        let mut fleet = Self {
            child: command.spawn().unwrap(),
            data: data.to_owned(),
            endpoints: serde_json::Value::Null,
        };
        fleet.endpoints = wait_for("endpoints.json", Duration::from_secs(60), || {
            let text = std::fs::read(data.join("endpoints.json")).ok()?;
            serde_json::from_slice(&text).ok()
        });
        fleet
    }

    /// The address called `name`.
    pub(crate) fn endpoint(&self, name: &str) -> String {
        self.endpoints[name].as_str().unwrap().to_owned()
    }

    /// What it printed.
    pub(crate) fn printed(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("out")).unwrap()
    }

    /// Ctrl-C, and everything must be gone.
    pub(crate) fn interrupt(mut self) {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::INT).unwrap();
        let status = wait_for("the end", Duration::from_secs(60), || self.child.try_wait().unwrap());
        assert!(status.success(), "{}", self.printed());
        assert_eq!(processes_of(&self.data), Vec::<String>::new(), "nothing is left");
    }

    /// SIGKILL, and everything must be gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        wait_for("the children's end", Duration::from_secs(10), || {
            processes_of(&self.data).is_empty().then_some(())
        });
    }

    fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until `look` finds something, or fails.
pub(crate) fn wait_for<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come within {within:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Command lines of processes whose environment or arguments name the data folder's network or folder.
pub(crate) fn processes_of(data: &Path) -> Vec<String> {
    let data = data.canonicalize().unwrap().display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let path = entry.path();
        let read = |name: &str| {
            let mut text = Vec::new();
            let _ = std::fs::File::open(path.join(name)).and_then(|mut file| file.read_to_end(&mut text));
            String::from_utf8_lossy(&text).replace('\0', " ")
        };
        let is_process = entry.file_name().to_string_lossy().chars().all(|c| c.is_ascii_digit());
        if is_process && (read("cmdline").contains(&data) || cwd_within(&path, &data)) {
            found.push(read("cmdline"));
        }
    }
    found
}

fn cwd_within(process: &Path, data: &str) -> bool {
    std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(data))
}
