//! The rule of docs/acl.md is enough, and each word of it is needed: without one the first operation that needs it
//! ends in a typed error and has written nothing.

use raptor_core::{ErrorKind, RedisClient, Result};
use raptor_session::{Metadata, SessionService, SessionToken};
use raptor_testkit::{AclRule, Backend, redis};
use time::Duration;

use crate::support::{NOW, config, create, options};

const DOCUMENT: &str = include_str!("../../../../docs/acl.md");

/// Each with a part of the scripts that the others do not reach.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Login,
    LoginThatPrunes,
    Read,
    ReadThatPrunes,
    ReadOfEnded,
    ReadOfNone,
    Logout,
    LogoutOfNone,
}

use Operation::{
    Login, LoginThatPrunes, Logout, LogoutOfNone, Read, ReadOfEnded, ReadOfNone, ReadThatPrunes,
};

const ALL: [Operation; 8] =
    [Login, LoginThatPrunes, Read, ReadThatPrunes, ReadOfEnded, ReadOfNone, Logout, LogoutOfNone];

struct Fixture {
    backend: Backend,
    rule: AclRule,
    /// May do everything.
    admin: SessionService,
    /// May do what the rule says.
    limited: SessionService,
}

impl Fixture {
    async fn start() -> Self {
        let rule = AclRule::documented(DOCUMENT, "raptor-session").expect("a rule");
        let backend = Backend::with_acl(&rule).await.expect("a server");
        let service = async |url: String| {
            let client = RedisClient::connect(config(url)).await.expect("a connection");
            SessionService::new(client, options(120_000, 3_600_000)).expect("a service")
        };
        let admin = service(backend.nodes()[0].url()).await;
        let limited = service(backend.url()).await;
        Self { backend, rule, admin, limited }
    }

    async fn allow(&self, rule: &AclRule) {
        self.run(&rule.command()).await;
    }

    async fn run(&self, command: &redis::Cmd) {
        let _: redis::Value = self.backend.query(command).await.expect("an answer");
    }

    /// The state that the operation finds, and the token that it is about; no script is known to the server.
    async fn prepare(&self, operation: Operation) -> SessionToken {
        self.run(&redis::cmd("FLUSHALL")).await;
        let at_start = self.admin.pinned_at(NOW);
        let token = match operation {
            Login | Read | ReadOfNone | Logout | LogoutOfNone => create(&self.admin, "ann").await,
            LoginThatPrunes | ReadOfEnded => create(&at_start, "ann").await,
            ReadThatPrunes => {
                create(&at_start, "ann").await;
                create(&self.admin.pinned_at(NOW + Duration::seconds(110)), "ann").await
            }
        };
        if matches!(operation, ReadOfNone | LogoutOfNone) {
            assert!(self.admin.delete_session(&token).await.expect("an answer"));
        }
        self.run(redis::cmd("SCRIPT").arg("FLUSH")).await;
        token
    }

    async fn act(&self, operation: Operation, token: &SessionToken) -> Result<()> {
        let later = |seconds| self.limited.pinned_at(NOW + Duration::seconds(seconds));
        let login = async |sessions: &SessionService| {
            sessions.create_session("ann", "acme", &Metadata::new()).await.map(drop)
        };
        let read = async |sessions: &SessionService, is_there| {
            let session = sessions.get_session(token).await?;
            assert_eq!(session.is_some(), is_there, "{operation:?}");
            Ok(())
        };
        match operation {
            Login => login(&self.limited).await,
            LoginThatPrunes => login(&later(600)).await,
            Read => read(&self.limited, true).await,
            ReadThatPrunes => read(&later(130), true).await,
            ReadOfEnded => read(&later(130), false).await,
            ReadOfNone => read(&self.limited, false).await,
            Logout => self.limited.delete_session(token).await.map(|deleted| assert!(deleted)),
            LogoutOfNone => self.limited.delete_session(token).await.map(|left| assert!(!left)),
        }
    }
}

#[tokio::test]
async fn the_documented_rule_is_enough() {
    let f = Fixture::start().await;
    for operation in ALL {
        let token = f.prepare(operation).await;
        let before = f.backend.snapshot().await.expect("a snapshot");
        f.act(operation, &token).await.unwrap_or_else(|error| panic!("{operation:?}: {error}"));
        let writes = !matches!(operation, ReadOfNone | LogoutOfNone);
        let after = f.backend.snapshot().await.expect("a snapshot");
        assert_eq!(after != before, writes, "{operation:?}");
    }
}

#[tokio::test]
async fn one_word_less_is_a_typed_error_and_nothing_is_written() {
    let f = Fixture::start().await;
    for (word, less) in f.rule.each_without() {
        f.allow(&less).await;
        let mut missed = 0;
        for operation in ALL {
            let token = f.prepare(operation).await;
            let before = f.backend.snapshot().await.expect("a snapshot");
            let outcome = f.act(operation, &token).await;
            let after = f.backend.snapshot().await.expect("a snapshot");
            if let Err(error) = outcome {
                missed += 1;
                assert_eq!(error.kind(), ErrorKind::Auth, "{operation:?} without {word}: {error}");
                assert!(after == before, "{operation:?} without {word} has written");
            } else if matches!(operation, Logout | ReadOfEnded) {
                assert!(after.is_empty(), "{operation:?} without {word} left something behind");
            }
        }
        assert!(missed > 0, "no operation needs {word}");
    }
}
