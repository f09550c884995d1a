use super::*;
use proptest::prelude::*;

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn read(command: &[&str], args: &[&str]) -> EngineArgs {
    EngineArgs::of(
        &[Container {
            name: "vllm",
            command: &strings(command),
            args: &strings(args),
            env: &[("BLOCKS".to_owned(), "512".to_owned())],
        }],
        None,
    )
}

#[test]
fn arguments_are_read_in_every_way_people_write_them() {
    let base = EngineArgs::default();
    let seqs = |n| EngineArgs {
        max_num_seqs: Some(n),
        ..base.clone()
    };
    let cases: [(&[&str], &[&str], EngineArgs); 19] = [
        (&[], &[], base.clone()),
        (&["vllm", "serve", "m"], &["--max-num-seqs=64"], seqs(64)),
        (&["vllm", "serve", "m"], &["--max-num-seqs", "64"], seqs(64)),
        (&["vllm", "serve", "m"], &["--max_num_seqs", "64"], seqs(64)),
        (&[], &["--max-num-seqs", "64", "--max-num-seqs", "32"], seqs(32)),
        (&["sh", "-c", "vllm serve m --max-num-seqs 64"], &[], seqs(64)),
        (
            &["/bin/bash", "-lc"],
            &["exec vllm serve m --max-num-seqs '64'"],
            seqs(64),
        ),
        (
            &["bash", "-c"],
            &["echo --max-num-seqs 3 && vllm serve m \\\n --max-num-seqs=\"64\" # --max-num-seqs 2"],
            seqs(64),
        ),
        (
            &["sh", "-c", "vllm serve m --num-gpu-blocks-override $BLOCKS"],
            &[],
            EngineArgs {
                num_gpu_blocks_override: Some(512),
                ..base.clone()
            },
        ),
        (
            &["vllm"],
            &["--num-gpu-blocks-override=$(BLOCKS)"],
            EngineArgs {
                num_gpu_blocks_override: Some(512),
                ..base.clone()
            },
        ),
        (&["sh", "-c", "vllm serve m --max-num-seqs ${SEQS:-48}"], &[], seqs(48)),
        (
            &[],
            &["-tp", "4", "--gpu-memory-utilization", "0.95", "--kv-cache-dtype=fp8"],
            EngineArgs {
                tensor_parallel: 4,
                gpu_memory_utilization: 0.95,
                kv_cache_dtype: "fp8".to_owned(),
                ..base.clone()
            },
        ),
        (
            &[],
            &["--max-model-len", "32k", "--max-num-batched-tokens", "2K"],
            EngineArgs {
                max_model_len: Some(32_000),
                max_num_batched_tokens: Some(2048),
                ..base.clone()
            },
        ),
        (
            &[],
            &["--no-enable-chunked-prefill", "--block-size", "32"],
            EngineArgs {
                chunked_prefill: false,
                block_size: 32,
                ..base.clone()
            },
        ),
        (
            &[],
            &["--enable-chunked-prefill=False"],
            EngineArgs {
                chunked_prefill: false,
                ..base.clone()
            },
        ),
        (&[], &["--enable-chunked-prefill", "--max-num-seqs", "8"], seqs(8)),
        (
            &[],
            &["--enable-chunked-prefill", "true", "--max-num-seqs", "8"],
            seqs(8),
        ),
        (
            &[],
            &["--max-num-seqs", "many"],
            EngineArgs {
                unread: strings(&["--max-num-seqs many cannot be read; the default is assumed"]),
                ..base.clone()
            },
        ),
        (
            &[],
            &["--max-num-seqs", "--block-size", "8"],
            EngineArgs {
                block_size: 8,
                unread: strings(&["--max-num-seqs has no value; the default is assumed"]),
                ..base.clone()
            },
        ),
    ];
    for (command, args, expected) in cases {
        assert_eq!(read(command, args), expected, "{command:?} {args:?}");
    }
}

#[test]
fn a_sidecar_does_not_speak_for_the_server() {
    let (server, sidecar) = (strings(&["--max-num-seqs=64"]), strings(&["--max-num-seqs=1"]));
    let containers = [
        Container {
            name: "vllm",
            command: &[],
            args: &server,
            env: &[],
        },
        Container {
            name: "proxy",
            command: &[],
            args: &sidecar,
            env: &[],
        },
    ];
    assert_eq!(EngineArgs::of(&containers, None).max_num_seqs, Some(64));
    assert_eq!(EngineArgs::of(&containers, Some("proxy")).max_num_seqs, Some(1));
    let nobody = EngineArgs::of(&containers, Some("other"));
    assert_eq!(
        (nobody.max_batch(), nobody.slots(), nobody.unread.len()),
        (256, None, 1)
    );
    assert_eq!(EngineArgs::of(&[], None), EngineArgs::default());
}

#[test]
fn the_budget_of_an_iteration_is_as_set_or_as_the_engine_takes_it() {
    let env = [("VLLM_USE_V1".to_owned(), "0".to_owned())];
    let with = |args: &[&str], env: &[(String, String)]| {
        EngineArgs::of(
            &[Container {
                name: "vllm",
                command: &[],
                args: &strings(args),
                env,
            }],
            None,
        )
        .effective_batched_tokens()
    };
    assert_eq!(with(&["--max-num-batched-tokens=4096"], &env), 4096);
    assert_eq!(with(&[], &[]), 8192);
    assert_eq!(with(&["--enable-chunked-prefill"], &env), 2048);
    assert_eq!(with(&["--max-model-len=16384"], &env), 16_384);
    assert_eq!(with(&["--max-model-len=1024"], &env), 2048);
    assert_eq!(with(&[], &env), 2048);
}

#[test]
fn capacity_follows_from_the_arguments() {
    let args = EngineArgs {
        max_num_batched_tokens: Some(4096),
        ..EngineArgs::default()
    };
    assert_eq!(args.derived_capacity(500.0, 100.0), Some(140_800.0));
    // Long prompts: the budget binds, 4096 * 100 / 4096 = 100 requests.
    assert_eq!(args.derived_capacity(3996.0, 100.0), Some(404_600.0));
    for (input, output) in [(500.0, 0.0), (f64::NAN, 100.0), (500.0, f64::INFINITY), (-1.0, 10.0)] {
        assert_eq!(args.derived_capacity(input, output), None);
    }
    let by_hand = EngineArgs {
        num_gpu_blocks_override: Some(1000),
        ..EngineArgs::default()
    };
    assert_eq!(by_hand.cache_tokens(), Some(16_000.0));
    assert!(!by_hand.compatible(&args) && args.compatible(&args.clone()));
}

proptest! {
    #[test]
    fn no_command_line_panics(command in prop::collection::vec(".{0,40}", 0..5), script in ".{0,200}") {
        read(&command.iter().map(String::as_str).collect::<Vec<_>>(), &[&script]);
        read(&["sh", "-c", &script], &[]);
        read(&["sh", "-c", &format!("vllm --block-size '{script}' ${{{script}")], &[&script]);
    }
}
