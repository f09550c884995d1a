use super::*;
use wire::prom::parse::parse;

fn read_text(text: &str, model: Option<&str>) -> Result<ReplicaPage, String> {
    read(&parse(text.as_bytes()).unwrap(), model)
}

const NEWER: &str = "vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 3.0\n\
                     vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 1.0\n\
                     vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"m\"} 0.5\n\
                     vllm:generation_tokens_total{engine=\"0\",model_name=\"m\"} 56.0\n";

#[test]
fn every_engine_version_is_read_under_its_names() {
    let older = NEWER.replace("vllm:kv_cache", "vllm:gpu_cache");
    let both = format!("vllm:gpu_cache_usage_perc{{model_name=\"m\"}} 0.9\n{NEWER}");
    let sglang = "sglang:token_usage{model_name=\"m\"} 0.5\nsglang:num_running_reqs{model_name=\"m\"} 3\n\
                  sglang:num_queue_reqs{model_name=\"m\"} 1\nsglang:generation_tokens_total{model_name=\"m\"} 56\n";
    let served = "trtllm_kv_cache_utilization{model_name=\"m\",engine_type=\"pytorch\"} 0.5\n\
                  trtllm_num_requests_running{model_name=\"m\"} 3\ntrtllm_num_requests_waiting{model_name=\"m\"} 1\n";
    let triton = "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"fraction\",model=\"tensorrt_llm\",version=\"1\"} 0.5\n\
                  nv_trt_llm_request_metrics{model=\"tensorrt_llm\",request_type=\"scheduled\",version=\"1\"} 3\n\
                  nv_trt_llm_request_metrics{model=\"tensorrt_llm\",request_type=\"waiting\",version=\"1\"} 1\n";
    for (text, found) in [
        (served, "TensorRT-LLM (trtllm-serve) (trtllm_kv_cache_utilization)"),
        (triton, "TensorRT-LLM (Triton) (nv_trt_llm_kv_cache_block_metrics)"),
    ] {
        let page = read_text(text, Some("m")).unwrap();
        assert_eq!(page.found, found);
        assert_eq!(
            (page.kv, page.running, page.waiting),
            (Ok(0.5), Ok(3.0), Ok(1.0)),
            "{found}"
        );
        assert!(
            page.generated.unwrap_err().contains("does not tell generated tokens"),
            "{found}"
        );
    }
    let cases = [
        (NEWER, "vLLM (vllm:kv_cache_usage_perc)"),
        (&older, "vLLM (vllm:gpu_cache_usage_perc)"),
        (&both, "vLLM (vllm:kv_cache_usage_perc)"),
        (sglang, "SGLang (sglang:token_usage)"),
    ];
    for (text, found) in cases {
        let page = read_text(text, Some("m")).unwrap();
        assert_eq!(page.found, found);
        let numbers = (page.kv, page.running, page.waiting, page.generated);
        assert_eq!(numbers, (Ok(0.5), Ok(3.0), Ok(1.0), Ok(56.0)), "{found}");
    }
}

#[test]
fn what_is_missing_is_an_error_and_not_zero() {
    let page = read_text("vllm:num_requests_running{model_name=\"m\"} 3\n", Some("m")).unwrap();
    assert_eq!(page.running, Ok(3.0));
    assert!(page.kv.unwrap_err().contains("none of vllm:kv_cache_usage_perc"));
    assert!(page.waiting.unwrap_err().contains("no vllm:num_requests_waiting"));
    assert!(
        read_text("python_info 1\n", Some("m"))
            .unwrap_err()
            .contains("no engine metrics")
    );
}

#[test]
fn absurd_values_are_errors_and_not_numbers() {
    for absurd in ["NaN", "+Inf", "-1"] {
        let page = read_text(&NEWER.replace("0.5", absurd), Some("m")).unwrap();
        assert!(page.kv.is_err(), "{absurd}");
    }
    assert!(
        read_text(&NEWER.replace("0.5", "50"), Some("m"))
            .unwrap()
            .kv
            .unwrap_err()
            .contains("above 1")
    );
}

#[test]
fn another_models_samples_do_not_count_and_the_error_names_them() {
    let page = read_text(NEWER, Some("other")).unwrap();
    assert!(page.running.unwrap_err().contains("for model m only, not other"));
    assert_eq!(read_text(NEWER, None).unwrap().running, Ok(3.0));
}

#[test]
fn several_engines_of_a_replica_count_together() {
    let second = NEWER.replace("engine=\"0\"", "engine=\"1\"").replace("0.5", "0.75");
    let page = read_text(&format!("{NEWER}{second}"), Some("m")).unwrap();
    assert_eq!((page.kv, page.running, page.waiting), (Ok(0.75), Ok(6.0), Ok(2.0)));
}

#[test]
fn counters_and_caches_of_all_engines_of_a_replica_add_up() {
    let engine = |number: u32, blocks: u32| {
        let m = format!("{{engine=\"{number}\",model_name=\"m\"");
        format!(
            "vllm:num_requests_running{m}}} 1\nvllm:request_success_total{m},finished_reason=\"stop\"}} 5\n\
             vllm:request_success_total{m},finished_reason=\"length\"}} 2\n\
             vllm:time_to_first_token_seconds_sum{m}}} 3\nvllm:time_to_first_token_seconds_count{m}}} 10\n\
             vllm:cache_config_info{{engine=\"{number}\",num_gpu_blocks=\"{blocks}\",block_size=\"16\"}} 1\n"
        )
    };
    let page = read_text(&format!("{}{}", engine(0, 100), engine(1, 300)), Some("m")).unwrap();
    assert_eq!((page.done, page.kv_tokens), (Ok(14.0), Ok(6400.0)));
    let ttft = Observations {
        sum: Ok(6.0),
        count: Ok(20.0),
    };
    assert_eq!(page.ttft_s, ttft);
}

#[test]
fn a_request_through_an_ensemble_counts_once() {
    let page = read_text(
        r#"
nv_inference_request_success{model="ensemble",version="1"} 7
nv_inference_request_success{model="preprocessing",version="1"} 7
nv_inference_request_success{model="tensorrt_llm",version="1"} 7
nv_inference_request_success{model="postprocessing",version="1"} 7
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="active",version="1"} 4
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="scheduled",version="1"} 3
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="waiting",version="1"} 1
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max",model="tensorrt_llm",version="1"} 100
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="tokens_per",model="tensorrt_llm",version="1"} 64
"#,
        Some("llama"),
    )
    .unwrap();
    assert_eq!(
        (page.done, page.running, page.kv_tokens),
        (Ok(7.0), Ok(3.0), Ok(6400.0))
    );
}

#[test]
fn what_trtllm_serve_publishes_is_read() {
    let text = r#"
trtllm_num_requests_running{engine_type="pytorch",model_name="m"} 3
trtllm_num_requests_waiting{engine_type="pytorch",model_name="m"} 1
trtllm_num_requests_completed_total{engine_type="pytorch",model_name="m"} 9
trtllm_kv_cache_max_blocks{engine_type="pytorch",model_name="m"} 19960
trtllm_kv_cache_tokens_per_block{engine_type="pytorch",model_name="m"} 32
trtllm_time_to_first_token_seconds_sum{engine_type="pytorch",model_name="m"} 3
trtllm_time_to_first_token_seconds_count{engine_type="pytorch",model_name="m"} 10
"#;
    let page = read_text(text, Some("m")).unwrap();
    assert_eq!((page.done, page.kv_tokens), (Ok(9.0), Ok(638_720.0)));
    assert_eq!(page.ttft_s.count, Ok(10.0));
    let success = "trtllm_request_success_total{model_name=\"m\",finished_reason=\"stop\"} 8\n";
    assert_eq!(read_text(&format!("{text}{success}"), Some("m")).unwrap().done, Ok(8.0));
}
