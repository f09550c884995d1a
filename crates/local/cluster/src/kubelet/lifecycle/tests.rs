use super::*;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

fn life(init: bool, restart: Option<&str>) -> Life {
    let spec = Container {
        name: "c".into(),
        restart_policy: restart.map(str::to_owned),
        ..Container::default()
    };
    Life::new(spec, init)
}

fn time() -> Time {
    Time(Timestamp::from_second(1_000).unwrap())
}

const OK: Exit = Exit { code: 0, signal: None };
const BAD: Exit = Exit { code: 1, signal: None };

#[test]
fn restarts_at_once_then_backs_off_and_forgets_after_a_long_run() {
    let backoff = Backoff::default();
    let mut life = life(false, None);
    let mut now = Instant::now();
    for (ran, want) in [
        (1, 0),
        (1, 10),
        (1, 20),
        (1, 40),
        (1, 80),
        (1, 160),
        (1, 300),
        (1, 300),
        (700, 0),
        (1, 10),
    ] {
        life.on_started(7, time(), now);
        now += Duration::from_secs(ran);
        let pause = life.on_exit(BAD, Restart::Always, &backoff, "p_ns(u)", (time(), now));
        assert_eq!(pause, Some(Duration::from_secs(want)));
    }
    assert_eq!(
        (life.restarts, life.next_run()),
        (9, 10),
        "the next one has not happened yet"
    );
    let status = life.status();
    let waiting = status.state.unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(
        waiting.message.as_deref(),
        Some("back-off 10s restarting failed container=c pod=p_ns(u)")
    );
    assert_eq!(
        status.last_state.unwrap().terminated.unwrap().reason.as_deref(),
        Some("Error")
    );
}

#[test]
fn the_policy_says_whether_a_container_comes_back() {
    for (policy, exit, init, comes_back) in [
        (Restart::Always, OK, false, true),
        (Restart::OnFailure, OK, false, false),
        (Restart::OnFailure, BAD, false, true),
        (Restart::Never, BAD, false, false),
        (Restart::Always, OK, true, false),
        (Restart::Always, BAD, true, true),
        (Restart::Never, BAD, true, false),
    ] {
        let mut life = life(init, None);
        let now = Instant::now();
        life.on_started(7, time(), now);
        let pause = life.on_exit(exit, policy, &Backoff::default(), "", (time(), now));
        assert_eq!(pause.is_some(), comes_back, "{policy:?} {exit:?} init={init}");
    }
}

#[test]
fn init_containers_go_first_one_after_another() {
    let now = Instant::now();
    let mut lives = vec![
        life(true, None),
        life(true, Some("Always")),
        life(false, None),
        life(false, None),
    ];
    assert_eq!(to_start(&lives, now), [0]);
    assert_eq!(pod_phase(&lives), "Pending");
    lives[0].on_started(1, time(), now);
    assert!(to_start(&lives, now).is_empty());
    lives[0].on_exit(OK, Restart::Always, &Backoff::default(), "", (time(), now));
    assert_eq!(to_start(&lives, now), [1]);
    lives[1].on_started(2, time(), now);
    assert_eq!(to_start(&lives, now), [2, 3]);
    lives[2].on_started(3, time(), now);
    assert_eq!(pod_phase(&lives), "Pending");
    lives[3].on_started(4, time(), now);
    assert_eq!(pod_phase(&lives), "Running");
    lives[1].on_exit(BAD, Restart::Always, &Backoff::default(), "", (time(), now));
    assert_eq!(to_start(&lives, now), [1], "a sidecar comes back beside the others");
    assert_eq!(pod_phase(&lives), "Running");
}

#[test]
fn phases_at_the_end() {
    for (exits, want) in [([OK, OK], "Succeeded"), ([OK, BAD], "Failed")] {
        let now = Instant::now();
        let mut lives = vec![life(false, None), life(false, None)];
        for (life, exit) in lives.iter_mut().zip(exits) {
            life.on_started(1, time(), now);
            life.on_exit(exit, Restart::Never, &Backoff::default(), "", (time(), now));
        }
        assert_eq!(pod_phase(&lives), want);
        assert!(to_start(&lives, now).is_empty());
    }
    let now = Instant::now();
    let mut lives = vec![life(true, None), life(false, None)];
    lives[0].on_started(1, time(), now);
    lives[0].on_exit(BAD, Restart::Never, &Backoff::default(), "", (time(), now));
    assert_eq!(pod_phase(&lives), "Failed");
    assert!(to_start(&lives, now).is_empty());
}

#[test]
fn what_ran_before_the_kubelet_ended_counts_as_restarted() {
    for (state, policy, restarts, ended) in [
        (
            json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}),
            Restart::Never,
            3,
            false,
        ),
        (json!({"terminated": {"exitCode": 0}}), Restart::Never, 3, true),
        (json!({"terminated": {"exitCode": 0}}), Restart::Always, 3, false),
        (
            json!({"waiting": {"reason": "ContainerCreating"}}),
            Restart::Always,
            2,
            false,
        ),
    ] {
        let status: ContainerStatus = serde_json::from_value(json!({
            "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 2, "state": state
        }))
        .unwrap();
        let mut life = life(false, None);
        life.resume(&status, policy, &time());
        assert_eq!(life.next_run(), restarts, "{state}");
        assert_eq!(matches!(life.phase, Phase::Terminated(_)), ended, "{state}");
    }
}

#[test]
fn a_pod_that_goes_ends_its_sidecars_for_good() {
    let mut life = life(true, Some("Always"));
    let now = Instant::now();
    life.on_started(5, time(), now);
    life.on_final_exit(
        Exit {
            code: 143,
            signal: Some(15),
        },
        time(),
        now,
    );
    assert!(matches!(&life.phase, Phase::Terminated(ended) if ended.exit_code == 143));
    assert_eq!((life.restarts, life.last), (0, None));
}
