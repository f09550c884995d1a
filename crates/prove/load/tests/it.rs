//! The load generator against a simulated server on a real socket.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use clap::Parser;
use load::report::Summary;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: load::Args,
}

async fn server(flags: &[&str]) -> modelserver::Running {
    let always = [
        "--model",
        "llama-3.1-8b",
        "--served-model-name",
        "m",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
    ];
    let args = modelserver::Args::from_flags(always.iter().chain(flags).copied()).unwrap();
    modelserver::start(args, CancellationToken::new()).await.unwrap()
}

async fn load(server: &modelserver::Running, flags: &str, stop: CancellationToken) -> Summary {
    let url = format!("http://{}/v1", server.address);
    let words = ["load", "--url", &url, "--json"]
        .into_iter()
        .chain(flags.split_whitespace());
    load::run(Cli::parse_from(words).args.check().unwrap(), stop)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_asks_the_model_it_finds_and_measures_every_answer() {
    let server = server(&["--gpu-type", "H100", "--speed", "20"]).await;
    let summary = load(
        &server,
        "--rate 50 --requests 40 --output-tokens 16 --output-spread 4",
        CancellationToken::new(),
    )
    .await;
    assert_eq!(
        (summary.counts.planned, summary.counts.done),
        (40, 40),
        "{:?}",
        summary.failures
    );
    assert_eq!(summary.ttft_ms.count, 40);
    assert!(summary.itl_ms.count > 40 && summary.ttft_ms.p50 > 0.0 && summary.ttft_ms.p50 <= summary.e2e_ms.p50);
    // The server was told to ignore the end of sequence: the tokens are those of the plan.
    assert!(
        (40 * 8..40 * 32).contains(&summary.output_tokens),
        "{}",
        summary.output_tokens
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_loop_keeps_its_number_in_flight_and_plain_answers_have_no_first_token() {
    let server = server(&["--gpu-type", "H100", "--speed", "20"]).await;
    let flags = "--concurrency 4 --requests 12 --output-tokens 8 --no-stream --completions";
    let summary = load(&server, flags, CancellationToken::new()).await;
    assert_eq!(summary.counts.done, 12, "{:?}", summary.failures);
    assert_eq!((summary.ttft_ms.count, summary.ttft_met), (0, None));
    assert!(summary.output_tokens >= 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_time_limits_are_outcomes_of_their_own() {
    let server = server(&["--gpu-type", "H100"]).await;
    let unknown = load(
        &server,
        "--rate 100 --requests 5 --model nobody",
        CancellationToken::new(),
    )
    .await;
    assert_eq!(unknown.counts.failed, 5);
    assert!(unknown.failures.contains_key("http_404"), "{:?}", unknown.failures);
    let slow = load(
        &server,
        "--rate 100 --requests 5 --output-tokens 500 --timeout 50ms",
        CancellationToken::new(),
    )
    .await;
    assert_eq!(slow.counts.timed_out, 5, "{:?}", slow.failures);
    assert!(slow.counts.balanced() && slow.attainment == Some(0.0));
}

/// Requests the server works on at the moment.
async fn requests_at(server: &modelserver::Running) -> u64 {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let question = b"GET /load HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\r\n";
    stream.write_all(question).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let number = answer.rsplit(':').next().unwrap().trim_end_matches('}');
    number.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_user_cuts_off_is_accounted_for() {
    let server = server(&["--gpu-type", "L4"]).await;
    let stop = CancellationToken::new();
    let summary = tokio::join!(
        load(&server, "--rate 20 --for 10s --output-tokens 500", stop.clone()),
        async {
            while requests_at(&server).await < 3 {}
            stop.cancel();
        }
    )
    .0;
    assert!(
        summary.counts.unsent > 100 && summary.counts.cancelled > 0,
        "{:?}",
        summary.counts
    );
    assert!(summary.counts.balanced());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_not_a_run_of_failures() {
    let words = ["load", "--url", "http://127.0.0.1:1/v1", "--rate", "1", "--for", "1s"];
    let config = Cli::parse_from(words).args.check().unwrap();
    let error = load::run(config, CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("onnect"), "{error}");
}
