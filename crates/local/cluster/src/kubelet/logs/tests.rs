use super::*;

async fn read(path: &Path, wanted: Wanted) -> String {
    let (to, mut from) = mpsc::channel(8);
    let task = tokio::spawn(send(path.to_owned(), wanted, None, to));
    let mut text = Vec::new();
    while let Some(piece) = from.recv().await {
        text.extend_from_slice(&piece.unwrap());
    }
    task.await.unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_log_is_bounded_and_read_back_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(Mutex::new(LogFile::create(folder.path(), 0, 2_000).unwrap()));
    let (news, _) = watch::channel(0);
    let text: String = (0..200).map(|n| format!("line {n}\n")).collect();
    pump(format!("{text}no newline").as_bytes(), "stdout", log, news).await;
    let size: u64 = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size <= 4_000, "{size}");
    let path = path(folder.path(), 0);
    let all = read(&path, Wanted::default()).await;
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(&lines[lines.len() - 2..], ["line 199", "no newline"]);
    let kept: Vec<usize> = lines[..lines.len() - 1]
        .iter()
        .map(|l| l.trim_start_matches("line ").parse().unwrap())
        .collect();
    assert!(
        kept.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "nothing between is lost"
    );
    let tail = read(
        &path,
        Wanted {
            tail: Some(2),
            ..Wanted::default()
        },
    )
    .await;
    assert_eq!(tail, "line 199\nno newline\n");
    assert_eq!(
        read(
            &path,
            Wanted {
                tail: Some(0),
                ..Wanted::default()
            }
        )
        .await,
        ""
    );
    assert_eq!(
        read(
            &path,
            Wanted {
                limit_bytes: Some(5),
                tail: Some(1),
                ..Wanted::default()
            }
        )
        .await,
        "no ne"
    );
    let late = Timestamp::now()
        .checked_add(k8s_openapi::jiff::SignedDuration::from_secs(60))
        .unwrap();
    assert_eq!(
        read(
            &path,
            Wanted {
                since: Some(late),
                ..Wanted::default()
            }
        )
        .await,
        ""
    );
    let timed = read(
        &path,
        Wanted {
            tail: Some(1),
            timestamps: true,
            ..Wanted::default()
        },
    )
    .await;
    let (time, rest) = timed.split_once(' ').unwrap();
    assert!(
        time.parse::<Timestamp>().is_ok() && time.len() == 30 && rest == "no newline\n",
        "{timed}"
    );
}

#[tokio::test]
async fn very_long_lines_come_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(Mutex::new(LogFile::create(folder.path(), 0, 1 << 20).unwrap()));
    let long = "x".repeat(100_000);
    pump(format!("{long}\nend\n").as_bytes(), "stderr", log, watch::channel(0).0).await;
    assert_eq!(
        read(&path(folder.path(), 0), Wanted::default()).await,
        format!("{long}\nend\n")
    );
}

#[tokio::test]
async fn following_shows_new_lines_across_a_rotation_and_ends_with_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(Mutex::new(LogFile::create(folder.path(), 3, 300).unwrap()));
    let (news, heard) = watch::channel(0);
    let (to, mut from) = mpsc::channel(8);
    let wanted = Wanted {
        follow: true,
        ..Wanted::default()
    };
    let task = tokio::spawn(send(path(folder.path(), 3), wanted, Some(heard), to));
    for n in 0..20 {
        pump(format!("line {n}\n").as_bytes(), "stdout", log.clone(), news.clone()).await;
        assert_eq!(from.recv().await.unwrap().unwrap(), format!("line {n}\n"));
    }
    drop(news);
    assert!(from.recv().await.is_none());
    task.await.unwrap();
}

#[test]
fn only_the_previous_run_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    for run in 0..4 {
        LogFile::create(folder.path(), run, 100).unwrap();
    }
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["2.log", "3.log"]);
}
