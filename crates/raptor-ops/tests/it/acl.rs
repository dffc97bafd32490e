//! The rule of docs/acl.md is enough, and each word of it is needed: without one the first operation that needs it
//! ends in a typed error and has charged nothing.

use raptor_core::{ErrorKind, RedisClient, Result};
use raptor_ops::usage::{
    Dimension, PeriodRule, Recorded, UsageEvent, UsageOptions, UsageReport, UsageService,
};
use raptor_testkit::{AclRule, Backend, redis};
use tokio::task::JoinSet;

use crate::support::{NOW, config, event, period, prices};

const DOCUMENT: &str = include_str!("../../../../docs/acl.md");

#[derive(Clone, Copy, Debug)]
enum Operation {
    /// Into an empty database.
    First,
    /// Names and totals are there already.
    Next,
    /// A name more.
    NewName,
    Duplicate,
    Report,
    Page,
}

const ALL: [Operation; 6] = [
    Operation::First,
    Operation::Next,
    Operation::NewName,
    Operation::Duplicate,
    Operation::Report,
    Operation::Page,
];

struct Fixture {
    backend: Backend,
    rule: AclRule,
    /// May do everything.
    admin: UsageService,
    /// May do what the rule says.
    limited: UsageService,
}

fn charge(n: u128, user: &str) -> UsageEvent {
    event(n).user(user).agent("a").input(7)
}

async fn report(usage: &UsageService) -> Result<UsageReport> {
    usage.report("acme", &period(PeriodRule::DAY, NOW)).await
}

impl Fixture {
    async fn start() -> Self {
        let rule = AclRule::documented(DOCUMENT, "raptor-ops").expect("a rule");
        let backend = Backend::with_acl(&rule).await.expect("a server");
        let service = async |url: String| {
            let client = RedisClient::connect(config(url)).await.expect("a connection");
            let usage = UsageService::new(client, UsageOptions::new(prices())).expect("a service");
            usage.pinned_at(NOW)
        };
        let admin = service(backend.nodes()[0].url()).await;
        let limited = service(backend.url()).await;
        Self { backend, rule, admin, limited }
    }

    async fn run(&self, command: &redis::Cmd) {
        let _: redis::Value = self.backend.query(command).await.expect("an answer");
    }

    /// One event of `ann` is charged, unless the first one is to come; no script is known to the server.
    async fn prepare(&self, operation: Operation) {
        self.run(&redis::cmd("FLUSHALL")).await;
        if !matches!(operation, Operation::First) {
            let _ = self.admin.record(&charge(1, "ann")).await.expect("charged");
        }
        self.run(redis::cmd("SCRIPT").arg("FLUSH")).await;
    }

    async fn act(&self, operation: Operation) -> Result<()> {
        let usage = &self.limited;
        let day = period(PeriodRule::DAY, NOW);
        let is_new = match operation {
            Operation::First | Operation::Next => usage.record(&charge(2, "ann")).await?,
            Operation::NewName => usage.record(&charge(2, "eve")).await?,
            Operation::Duplicate => usage.record(&charge(1, "ann")).await?,
            Operation::Report => {
                assert_eq!(report(usage).await?.totals.counts.requests, 1);
                return Ok(());
            }
            Operation::Page => {
                let page = usage.breakdown("acme", &day, Dimension::User, None, 10).await?;
                assert_eq!(page.lines.len(), 1);
                return Ok(());
            }
        };
        let expected = matches!(operation, Operation::Duplicate);
        assert_eq!(is_new == Recorded::Duplicate, expected, "{operation:?}");
        Ok(())
    }

    /// Many at once: the first goes by itself, the others ride together. How many failed.
    async fn crowd(&self) -> u64 {
        self.prepare(Operation::Next).await;
        let mut crowd = JoinSet::new();
        for n in 0..32 {
            let usage = self.limited.clone();
            let user = if n % 2 == 0 { "ann".to_owned() } else { format!("u{n}") };
            crowd.spawn(async move { usage.record(&charge(100 + n, &user)).await.map(drop) });
        }
        let (mut charged, mut failed) = (0, 0);
        for outcome in crowd.join_all().await {
            match outcome {
                Ok(()) => charged += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
                    failed += 1;
                }
            }
        }
        let report = report(&self.admin).await.expect("a report");
        let by_user: u64 = report.by_user.lines.iter().map(|line| line.usage.counts.requests).sum();
        assert_eq!((report.totals.counts.requests, by_user), (1 + charged, 1 + charged));
        failed
    }
}

#[tokio::test]
async fn the_documented_rule_is_enough() {
    let f = Fixture::start().await;
    for operation in ALL {
        f.prepare(operation).await;
        f.act(operation).await.unwrap_or_else(|error| panic!("{operation:?}: {error}"));
    }
    assert_eq!(f.crowd().await, 0);
}

#[tokio::test]
async fn one_word_less_is_a_typed_error_and_nothing_is_charged() {
    let f = Fixture::start().await;
    for (word, less) in f.rule.each_without() {
        f.run(&less.command()).await;
        let mut missed = 0;
        for operation in ALL {
            f.prepare(operation).await;
            let before = f.backend.snapshot().await.expect("a snapshot");
            if let Err(error) = f.act(operation).await {
                missed += 1;
                assert_eq!(error.kind(), ErrorKind::Auth, "{operation:?} without {word}: {error}");
                let after = f.backend.snapshot().await.expect("a snapshot");
                assert!(after == before, "{operation:?} without {word} has written");
            }
        }
        assert!(missed > 0, "no operation needs {word}");
        f.crowd().await;
    }
}
