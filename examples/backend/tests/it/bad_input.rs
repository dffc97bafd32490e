//! What cannot be replayed ends with one clear error and exit code 2.

use std::io::Write;

use raptor_testkit::Server;
use tempfile::NamedTempFile;

use crate::rig::{Run, keys_left, run};

/// Nobody listens there: what is wrong with the input is said before that matters.
const NOWHERE: &str = "redis://127.0.0.1:1";

fn file(content: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

#[track_caller]
fn assert_one_error(run: &Run, parts: &[&str]) {
    assert_eq!(run.code, Some(2), "{run:?}");
    assert_eq!((run.err.lines().count(), &*run.out), (1, ""), "{run:?}");
    for part in parts {
        assert!(run.err.contains(part), "{part} is not in {}", run.err);
    }
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let run = run(NOWHERE, &["--trace", "/nowhere/trace.csv"]).await;
    assert_one_error(&run, &["/nowhere/trace.csv", "cannot be read"]);
}

#[tokio::test]
async fn a_wrong_header_is_shown_with_the_right_one() {
    let file = file(b"time,in,out\n2023-11-16 18:15:46.6805900,1,2\n");
    let path = file.path().to_str().unwrap();
    let run = run(NOWHERE, &["--trace", path]).await;
    let header = "TIMESTAMP,ContextTokens,GeneratedTokens";
    assert_one_error(&run, &[path, "line 1:", header, "\"time,in,out\""]);
}

#[tokio::test]
async fn a_bad_line_is_named_by_file_and_number_and_nothing_is_left_behind() {
    let server = Server::start().await.unwrap();
    let good = "2023-11-16 18:15:46.6805900,374,44\n";
    for (bad, flaw) in [
        (&b"2023-11-16 18:15:46.6805900,374\n"[..], "2 of the 3 fields"),
        (b"2023-11-16 18:15:46.6805900,many,44\n", "ContextTokens is \"many\""),
        (b"2023-11-16 18:15:46.6805900,374,-44\n", "GeneratedTokens is \"-44\""),
        (b"\0\0\0\0\n", "fields"),
        (&[b'9'; 3_000_000], "longer than"),
    ] {
        let header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
        let head = [header, &good.repeat(300)].concat();
        let file = file(&[head.as_bytes(), bad, good.as_bytes()].concat());
        let path = file.path().to_str().unwrap();
        let run = run(&server.url(), &["--trace", path]).await;
        assert_one_error(&run, &[path, "line 302:", flaw]);
        assert!(run.err.len() < 500, "{}", run.err);
        assert_eq!(keys_left(&server).await, 0);
    }
}

#[tokio::test]
async fn a_trace_without_requests_is_no_error() {
    let server = Server::start().await.unwrap();
    let file = file(b"TIMESTAMP,ContextTokens,GeneratedTokens");
    let run = run(&server.url(), &["--trace", file.path().to_str().unwrap()]).await;
    run.assert_books_ok();
    assert_eq!(run.row("requests"), 0);
}

#[tokio::test]
async fn arguments_out_of_range_are_refused() {
    for args in [
        &["--limit", "0/60"][..],
        &["--limit", "ten"],
        &["--speed", "0"],
        &["--concurrency", "0"],
        &["--tenants", "10000", "--users-per-tenant", "10000"],
        &["--requests", "-1"],
    ] {
        let run = run(NOWHERE, args).await;
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.err.starts_with("error: "), "{run:?}");
    }
    let run = run("redis://:s3cret@host:99999", &[]).await;
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.err.contains("url: has a port") && !run.err.contains("s3cret"), "{run:?}");
}
