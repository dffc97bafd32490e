//! Runs the binary and reads what it says.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use raptor_testkit::{Server, redis};
use tokio::process::{Child, Command};

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Starts the demo; it ends when the child is dropped.
pub(crate) fn start(url: &str, args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raptor-backend-example"));
    // A user's own server is none of this test's.
    for (name, _) in std::env::vars_os() {
        if ["REDIS_", "UPSTASH_", "RAPTOR_"]
            .iter()
            .any(|own| name.to_string_lossy().starts_with(own))
        {
            command.env_remove(name);
        }
    }
    command.arg("--url").arg(url).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().unwrap()
}

pub(crate) async fn end(child: Child) -> Run {
    let Output { status, stdout, stderr } = child.wait_with_output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: status.code(), out: text(stdout), err: text(stderr) }
}

pub(crate) async fn run(url: &str, args: &[&str]) -> Run {
    end(start(url, args)).await
}

/// How many keys the server holds.
pub(crate) async fn keys_left(server: &Server) -> u64 {
    server.query(&redis::cmd("DBSIZE")).await.unwrap()
}

/// A real trace beside the checkout; says so and is `None` where it is not.
pub(crate) fn real_trace(name: &str) -> Option<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let path = folder.join(name);
    if path.is_file() {
        return Some(path.to_str().unwrap().to_owned());
    }
    let _ = std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!("skipped: {} is not there\n", path.display()),
    );
    None
}

impl Run {
    /// The number in the table's row of this name.
    pub(crate) fn row(&self, name: &str) -> u64 {
        self.cells(name)[0].replace(',', "").parse().unwrap()
    }

    /// What stands behind the name in the table's row of this name.
    pub(crate) fn cells(&self, name: &str) -> Vec<&str> {
        let rows = self
            .out
            .lines()
            .map(|line| line.split(['│', '┆', '|']).map(str::trim).filter(|cell| !cell.is_empty()));
        let cells = rows
            .into_iter()
            .find_map(|mut cells| (cells.next() == Some(name)).then(|| cells.collect()));
        cells.unwrap_or_else(|| panic!("no row {name} in {self:?}"))
    }

    /// What the services reported as usage, as it was printed.
    pub(crate) fn usage(&self) -> &str {
        self.out.lines().find(|line| line.starts_with("usage: ")).unwrap()
    }

    #[track_caller]
    pub(crate) fn assert_books_ok(&self) {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        assert!(
            self.out.trim_end().lines().last().unwrap().starts_with("books: ok"),
            "{}",
            self.out
        );
        assert_eq!(self.row("requests"), self.row("admitted") + self.row("denied"));
    }
}
