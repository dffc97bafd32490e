//! A private server: its addresses, its settings, its signals, and its end.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use raptor_testkit::redis::{self, Commands};
use raptor_testkit::{Error, Server, eventually};

/// Set in the child process of `ends_when_its_owner_is_sigkilled`: where it writes what it started.
const REPORT: &str = "RAPTOR_TESTKIT_REPORT";

fn alive(pid: u32) -> bool {
    let seen = Command::new("kill").args(["-0", &pid.to_string()]).stderr(Stdio::null()).status();
    seen.expect("kill runs").success()
}

fn folder(server: &Server) -> std::path::PathBuf {
    server.unix_socket().parent().expect("the socket lies in the folder").to_owned()
}

async fn gone(pid: u32, folder: &Path) {
    eventually("process and folder to be gone", Duration::from_secs(10), || async {
        let seen = (alive(pid), folder.exists());
        if seen == (false, false) { Ok(()) } else { Err(format!("(alive, folder) = {seen:?}")) }
    })
    .await
    .expect("the server ends with its owner");
}

#[tokio::test]
async fn answers_on_tcp_and_unix_socket() {
    let server = Server::start().await.expect("start");
    let mut tcp = redis::Client::open(server.url()).expect("url").get_connection().expect("tcp");
    let mut unix =
        redis::Client::open(server.unix_url()).expect("url").get_connection().expect("unix");
    let _: () = tcp.set("k", "v").expect("SET over TCP");
    let value: String = unix.get("k").expect("GET over the socket");
    assert_eq!(value, "v");
    assert_eq!(server.addr().port(), server.port());
    assert!(server.is_running());
}

#[tokio::test]
async fn starts_fast_also_many_at_once() {
    let begun = Instant::now();
    let one = Server::start().await.expect("start");
    let single = begun.elapsed();
    let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(Server::start())).collect();
    let mut ports = vec![one.port()];
    let mut servers = Vec::new();
    for task in tasks {
        let server = task.await.expect("task").expect("start");
        ports.push(server.port());
        servers.push(server);
    }
    assert!(single < Duration::from_secs(5), "{single:?}");
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 9);
}

#[tokio::test]
async fn settings_reach_the_server() {
    let server = Server::builder()
        .arg("maxmemory", "10mb")
        .password("p@ss \"word\"/ü")
        .acl_user("user app on >pw ~app:* +@all")
        .start()
        .await
        .expect("start");
    let (_, limit): (String, u64) =
        server.query(redis::cmd("CONFIG").arg(&["GET", "maxmemory"])).await.expect("CONFIG GET");
    assert_eq!(limit, 10 * 1024 * 1024);
    let client = redis::Client::open(server.url()).expect("url");
    let pong: String =
        redis::cmd("PING").query(&mut client.get_connection().expect("password")).expect("PING");
    assert_eq!(pong, "PONG");
    let app = format!("redis://app:pw@{}", server.addr());
    let mut app = redis::Client::open(app).expect("url").get_connection().expect("the ACL user");
    let _: () = app.set("app:1", 1).expect("its own keys");
    let refused = app.set::<_, _, ()>("other", 1).expect_err("not others'");
    assert_eq!(refused.code(), Some("NOPERM"));
    let nobody = format!("redis://{}", server.addr());
    let nobody = redis::Client::open(nobody).expect("url").get_connection();
    assert!(nobody.and_then(|mut c| c.get::<_, Option<String>>("k")).is_err());
}

#[tokio::test]
async fn a_unix_server_has_no_port() {
    let server = Server::builder().unix().start().await.expect("start");
    assert_eq!(server.port(), 0);
    assert_eq!(server.url(), server.unix_url());
    let pong: String = server.query(&redis::cmd("PING")).await.expect("PING");
    assert_eq!(pong, "PONG");
}

#[tokio::test]
async fn a_bad_setting_shows_the_servers_own_words() {
    let error = Server::builder().arg("maxmemory", "much").start().await.expect_err("no start");
    let Error::Start { log, .. } = &error else { panic!("{error}") };
    assert!(log.contains("maxmemory"), "{error}");
}

#[tokio::test]
async fn stop_freezes_and_cont_thaws() {
    let server = Server::start().await.expect("start");
    let connection = redis::Client::open(server.url()).expect("url").get_connection();
    let mut connection = connection.expect("connect");
    server.stop().expect("stop");
    assert!(!server.is_running());
    connection.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
    assert!(connection.get::<_, Option<String>>("k").expect_err("silence").is_timeout());
    server.cont().expect("cont");
    let pong: String = server.query(&redis::cmd("PING")).await.expect("PING");
    assert_eq!(pong, "PONG");
}

#[tokio::test]
async fn restart_keeps_the_address_and_forgets_the_data() {
    let server = Server::start().await.expect("start");
    let (url, pid) = (server.url(), server.pid());
    let _: () = server.admin().expect("admin").set("k", "v").expect("SET");
    server.kill().expect("kill");
    assert!(!server.is_running() && !alive(pid));
    assert!(matches!(server.stop(), Err(Error::NotRunning { .. })));
    server.restart().await.expect("restart");
    assert_eq!(server.url(), url);
    assert_ne!(server.pid(), pid);
    let value: Option<String> = server.query(redis::cmd("GET").arg("k")).await.expect("GET");
    assert_eq!(value, None);
    let (folder, pid) = (folder(&server), server.pid());
    server.shutdown().await;
    assert!(!alive(pid) && !folder.exists());
}

#[tokio::test]
async fn a_persistent_server_keeps_what_it_acknowledged() {
    let server = Server::builder().persistent().start().await.expect("start");
    let mut admin = server.admin().expect("admin");
    for i in 0..100 {
        let _: () = admin.set(format!("k{i}"), i).expect("SET");
    }
    server.restart().await.expect("restart after SIGKILL");
    let size: u64 = server.query(&redis::cmd("DBSIZE")).await.expect("DBSIZE");
    assert_eq!(size, 100);
    server.terminate().await.expect("terminate");
    assert!(!alive(server.pid()));
    server.restart().await.expect("restart after SIGTERM");
    let size: u64 = server.query(&redis::cmd("DBSIZE")).await.expect("DBSIZE");
    assert_eq!(size, 100);
}

#[tokio::test]
async fn ends_on_drop_even_when_stopped_or_dead() {
    for end in [|_: &Server| Ok(()), Server::stop, Server::kill] {
        let server = Server::start().await.expect("start");
        end(&server).expect("signal");
        let (pid, folder) = (server.pid(), folder(&server));
        let begun = Instant::now();
        drop(server);
        assert!(begun.elapsed() < Duration::from_millis(50), "drop must not wait");
        gone(pid, &folder).await;
    }
}

/// Runs as a child of the next test; does nothing when run as a test.
#[tokio::test]
async fn owner_that_will_be_sigkilled() {
    let Ok(report) = std::env::var(REPORT) else { return };
    let server = Server::start().await.expect("start");
    let stopped = Server::start().await.expect("start");
    stopped.stop().expect("stop");
    let restarted = Server::start().await.expect("start");
    restarted.restart().await.expect("restart");
    let lines: Vec<String> = [&server, &stopped, &restarted]
        .map(|server| format!("{} {}", server.pid(), folder(server).display()))
        .to_vec();
    let draft = format!("{report}.draft");
    std::fs::write(&draft, lines.join("\n")).expect("write");
    std::fs::rename(draft, report).expect("rename");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn ends_when_its_owner_is_sigkilled() {
    let scratch = tempfile::tempdir().expect("temp dir");
    let report = scratch.path().join("report");
    let mut child = Command::new(std::env::current_exe().expect("this test binary"))
        .args(["--exact", "server::owner_that_will_be_sigkilled"])
        .env(REPORT, &report)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("spawn");
    let started = eventually("the child to report", Duration::from_secs(20), || async {
        std::fs::read_to_string(&report).map_err(|error| error.to_string())
    });
    let started = started.await.expect("report");
    child.kill().expect("SIGKILL");
    child.wait().expect("reaped");
    assert_eq!(started.lines().count(), 3);
    for line in started.lines() {
        let (pid, folder) = line.split_once(' ').expect("pid and folder");
        gone(pid.parse().expect("pid"), Path::new(folder)).await;
    }
}
