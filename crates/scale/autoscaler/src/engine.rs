//! The vLLM server in a Pod's template, and what it is told.

use capacity::saturation::engine_args::{Container, EngineArgs};
use k8s_openapi::api::core::v1::{Container as Spec, PodSpec};

/// The arguments of the first container that runs vLLM; those of another
/// server, or of a sidecar, mean something else.
pub(crate) fn of_pod(spec: &PodSpec) -> Option<EngineArgs> {
    let container = spec.containers.iter().find(|container| runs_vllm(container))?;
    let env: Vec<(String, String)> = container
        .env
        .iter()
        .flatten()
        .filter_map(|var| Some((var.name.clone(), var.value.clone()?)))
        .collect();
    let container = Container {
        name: &container.name,
        command: container.command.as_deref().unwrap_or_default(),
        args: container.args.as_deref().unwrap_or_default(),
        env: &env,
    };
    Some(EngineArgs::of(&[container], None))
}

/// By the command, in any of the ways to start it, else by the image, whose
/// entry point it is.
fn runs_vllm(container: &Spec) -> bool {
    let words = || container.command.iter().chain(&container.args).flatten();
    let starts = |word: &String| {
        word == "vllm" || word.ends_with("/vllm") || word.contains("vllm serve") || word.contains("vllm.entrypoints")
    };
    let image = container.image.as_deref().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    words().any(starts) || container.command.is_none() && name.starts_with("vllm")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(containers: &Value) -> Option<EngineArgs> {
        of_pod(&serde_json::from_value(json!({ "containers": containers })).unwrap())
    }

    #[test]
    fn the_server_is_told_from_what_is_beside_it() {
        let sidecar = json!({"name": "proxy", "image": "routing-sidecar", "args": ["--max-num-seqs=1"]});
        for server in [
            json!({"name": "vllm", "image": "vllm/vllm-openai:v0.11.0", "args": ["--model=m", "--max-num-seqs=64"]}),
            json!({"name": "s", "image": "ghcr.io/llm-d/llm-d-cuda", "command": ["vllm", "serve", "m", "--max-num-seqs", "64"]}),
            json!({"name": "s", "image": "x", "command": ["/bin/sh", "-c", "exec vllm serve m --max-num-seqs 64"]}),
            json!({"name": "s", "image": "x", "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
                "args": ["--max-num-seqs", "64"]}),
        ] {
            let engine = read(&json!([sidecar, server])).expect("it runs vLLM");
            assert_eq!((engine.max_num_seqs, engine.unread.len()), (Some(64), 0), "{server}");
        }
        for other in [
            json!({"name": "s", "image": "lmsysorg/sglang", "args": ["--max-num-seqs=64"]}),
            json!({"name": "s", "image": "vllm/vllm-openai", "command": ["sleep", "60"]}),
            json!({"name": "s", "command": ["tidegate", "sim", "--max-num-seqs", "64"]}),
        ] {
            assert_eq!(read(&json!([other])), None, "{other}");
        }
    }

    #[test]
    fn the_environment_fills_in_what_is_written_as_a_variable() {
        let engine = read(
            &json!([{"name": "vllm", "image": "vllm/vllm-openai", "args": ["--block-size", "$(BLOCK)"],
            "env": [{"name": "BLOCK", "value": "32"}, {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}]),
        );
        assert_eq!(engine.map(|engine| engine.block_size), Some(32));
    }
}
