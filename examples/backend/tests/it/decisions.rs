//! Whole runs: their totals are exact, and the same input makes the same decisions.

use raptor_testkit::{Cluster, Server};

use crate::rig::{keys_left, real_trace, run};

#[tokio::test]
async fn generated_requests_balance_and_leave_nothing_behind() {
    let server = Server::start().await.unwrap();
    let run = run(&server.url(), &["--requests", "2000"]).await;
    run.assert_books_ok();
    assert_eq!(run.row("requests"), 2_000);
    assert!(run.row("denied") > 0 && run.row("denied") < 1_000, "{}", run.out);
    assert!(!run.out.contains("unknown"), "{}", run.out);
    assert_eq!(run.err, "");
    // The last columns: how many rode together, on average and at most.
    for service in ["session.get", "ratelimit.decide", "usage.record"] {
        let [.., mean, most] = run.cells(service)[..] else { panic!("{}", run.out) };
        let (mean, most): (f64, u64) = (mean.parse().unwrap(), most.parse().unwrap());
        assert!(mean >= 1.0 && most > 1 && mean <= most as f64, "{}", run.out);
    }
    assert_eq!(keys_left(&server).await, 0);
}

#[tokio::test]
async fn without_limits_the_usage_is_the_whole_trace_to_the_token() {
    let Some(trace) = real_trace("llm_trace_conv.csv") else { return };
    let server = Server::start().await.unwrap();
    let run = run(&server.url(), &["--trace", &trace, "--limit", "unlimited"]).await;
    run.assert_books_ok();
    let expected =
        "usage: 22,361,870 context and 4,088,665 generated tokens over 19,366 requests, ";
    assert!(run.usage().starts_with(expected), "{}", run.out);
    assert_eq!((run.row("admitted"), run.row("denied")), (19_366, 0));
    assert_eq!(keys_left(&server).await, 0);
}

#[tokio::test]
async fn the_default_limits_deny_some_of_the_real_hour() {
    let server = Server::start().await.unwrap();
    for (trace, arrived) in [("llm_trace_conv.csv", 19_366), ("llm_trace_code.csv", 8_819)] {
        let Some(trace) = real_trace(trace) else { return };
        let run = run(&server.url(), &["--trace", &trace]).await;
        run.assert_books_ok();
        assert_eq!(run.row("requests"), arrived);
        assert!((arrived / 20..arrived / 4).contains(&run.row("denied")), "{}", run.out);
    }
}

#[tokio::test]
async fn the_same_input_makes_the_same_decisions_at_any_speed_and_concurrency() {
    let server = Server::start().await.unwrap();
    let input = ["--requests", "1500", "--tenants", "3", "--limit", "20/30"];
    let variants: [&[&str]; 4] =
        [&[], &[], &["--concurrency", "3"], &["--speed", "300", "--concurrency", "200"]];
    let mut decisions = Vec::new();
    for variant in variants {
        let run = run(&server.url(), &[&input, variant].concat()).await;
        run.assert_books_ok();
        decisions.push((run.row("admitted"), run.row("denied"), run.usage().to_owned()));
    }
    assert!(decisions[0].1 > 0);
    assert!(decisions.iter().all(|same| *same == decisions[0]), "{decisions:?}");
}

#[tokio::test]
async fn more_users_than_a_page_of_a_report_balance_too() {
    let server = Server::start().await.unwrap();
    let many = ["--requests", "3000", "--tenants", "1", "--users-per-tenant", "1500"];
    run(&server.url(), &many).await.assert_books_ok();
    assert_eq!(keys_left(&server).await, 0);
}

#[tokio::test]
async fn a_cluster_serves_all_the_same() {
    let cluster = Cluster::builder().start().await.unwrap();
    let run = run(&cluster.url(), &["--requests", "1000"]).await;
    run.assert_books_ok();
    assert!(!run.out.contains("unknown"), "{}", run.out);
    for node in cluster.nodes() {
        assert_eq!(keys_left(node).await, 0);
    }
}

#[tokio::test]
async fn a_server_that_tells_nothing_of_itself_serves_all_the_same() {
    let server = Server::builder().acl_user("app on >pw ~* &* +@all -info").start().await.unwrap();
    let url = server.url().replace("redis://", "redis://app:pw@");
    let run = run(&url, &["--requests", "300"]).await;
    run.assert_books_ok();
    assert_eq!(run.out.matches("unknown").count(), 3, "{}", run.out);
}
