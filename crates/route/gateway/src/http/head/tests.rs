use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Option<RequestHead>, Problem> {
    request(&mut BytesMut::from(text), 8 << 10)
}

fn post(headers: &str) -> Result<Option<RequestHead>, Problem> {
    parse(&format!(
        "POST /v1/completions?x=1 HTTP/1.1\r\nHost: a\r\n{headers}\r\n"
    ))
}

#[test]
fn what_is_meant_for_one_hop_stays_there() {
    let head = post(
        "Content-Length: 5\r\nConnection: X-Secret, keep-alive\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
         Upgrade: h2c\r\nProxy-Authorization: x\r\nX-Tidegate-Anything: 1\r\nX-Request-Id: abc\r\nAuthorization: Bearer k\r\n",
    );
    let head = head.unwrap().unwrap();
    assert_eq!(
        &head.forward[..],
        b"POST /v1/completions?x=1 HTTP/1.1\r\nAuthorization: Bearer k\r\n"
    );
    assert_eq!(head.path, "/v1/completions");
    assert_eq!(head.request_id.as_deref(), Some("abc"));
    assert!(!head.close);
}

#[test]
fn a_content_type_goes_on_only_if_it_is_that_of_json() {
    let cases = [
        ("", ""),
        ("Content-Type: application/x-www-form-urlencoded\r\n", ""),
        ("Content-Type: application/jsonlines\r\n", ""),
        (
            "Content-Type: Application/JSON; charset=utf-8\r\nContent-Type: text/plain\r\n",
            "Content-Type: Application/JSON; charset=utf-8\r\n",
        ),
    ];
    for (sent, goes_on) in cases {
        let head = post(sent).unwrap().unwrap();
        let forward = String::from_utf8_lossy(&head.forward);
        assert_eq!(
            forward,
            format!("POST /v1/completions?x=1 HTTP/1.1\r\n{goes_on}"),
            "{sent}"
        );
        assert_eq!(head.says_json, !goes_on.is_empty(), "{sent}");
    }
}

#[test]
fn framing_that_can_be_read_in_two_ways_is_refused() {
    let refused = [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: 99999999999999999999999\r\n", 400),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 501),
        ("Host: b\r\n", 400),
        ("Expect: wonders\r\n", 417),
        ("Bad Name: x\r\n", 400),
    ];
    for (headers, status) in refused {
        assert_eq!(
            post(headers).err().map(|problem| problem.status()),
            Some(status),
            "{headers}"
        );
    }
    assert!(matches!(
        post("Content-Length: 5\r\nContent-Length: 5\r\n")
            .unwrap()
            .unwrap()
            .body,
        Framing::Length(5)
    ));
}

#[test]
fn limits_have_their_own_status() {
    assert_eq!(post(&"A: b\r\n".repeat(200)).unwrap_err().status(), 431);
    assert_eq!(post(&format!("A: {}\r\n", "x".repeat(9000))).unwrap_err().status(), 431);
    assert_eq!(parse(&"x".repeat(9000)).unwrap_err().status(), 431);
}

#[test]
fn a_deadline_is_a_number_in_range() {
    assert_eq!(
        post("X-Tidegate-Deadline-Ms: 250\r\n").unwrap().unwrap().patience,
        Some(Duration::from_millis(250))
    );
    for wrong in ["0", "-1", "600001", "1.5", "soon", ""] {
        let problem = post(&format!("X-Tidegate-Deadline-Ms: {wrong}\r\n")).unwrap_err();
        assert_eq!(
            (problem.status(), problem.param()),
            (400, Some("x-tidegate-deadline-ms")),
            "{wrong}"
        );
    }
}

#[test]
fn an_unusable_request_id_is_not_taken_over() {
    for (id, taken) in [
        ("a-1", true),
        ("", false),
        ("two words", false),
        (&"x".repeat(129), false),
    ] {
        let head = post(&format!("X-Request-Id: {id}\r\n")).unwrap().unwrap();
        assert_eq!(head.request_id.is_some(), taken, "{id}");
    }
}

#[test]
fn an_answer_is_passed_on_without_its_hops() {
    let mut inbox = BytesMut::from(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nserver: x\r\ncontent-type: Text/Event-Stream; charset=utf-8\r\n\
         transfer-encoding: chunked\r\nconnection: close\r\nx-tidegate-pod: forged\r\n\r\nrest",
    );
    let mut out = BytesMut::new();
    let head = answer(&mut inbox, &mut out, 8 << 10).unwrap().unwrap();
    assert_eq!(
        &out[..],
        b"HTTP/1.1 200 OK\r\nserver: x\r\ncontent-type: Text/Event-Stream; charset=utf-8\r\n" as &[u8]
    );
    assert!(head.event_stream && !head.keep_alive && matches!(head.body, Framing::Chunked(_)));
    assert_eq!(&inbox[..], b"rest");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, tail in "[ -~\r\n]{0,200}") {
        let _ = request(&mut BytesMut::from(&bytes[..]), 1 << 10);
        let _ = parse(&format!("POST / HTTP/1.1\r\nhost: a\r\n{tail}\r\n\r\n"));
        let _ = answer(&mut BytesMut::from(format!("HTTP/1.1 200 OK\r\n{tail}\r\n\r\n").as_str()), &mut BytesMut::new(), 1 << 10);
    }
}
