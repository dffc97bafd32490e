//! The rule of docs/acl.md is enough, and each word of it is needed: without one the first operation that needs it
//! ends in a typed error and has written nothing.

use raptor_core::{ErrorKind, RedisClient, Result};
use raptor_session::{AtCap, Changes, Metadata, SessionOptions, SessionService, SessionToken};
use raptor_testkit::{AclRule, Backend, redis};
use time::Duration;

use crate::support::{NOW, config, create, options};

const DOCUMENT: &str = include_str!("../../../../docs/acl.md");

macro_rules! operations {
    ($($name:ident)*) => {
        /// Each with a part of the scripts that the others do not reach.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Operation {
            $($name,)*
        }

        const ALL: &[Operation] = &[$($name),*];
    };
}
operations! {
    Login LoginThatPrunes LoginThatEvicts LoginToBeTold LoginOfNobody
    Read ReadOfAnother ReadThatSlides ReadOfEnded ReadOfNone
    Extend ExtendToBeTold
    Update UpdateThatRemoves TakeFlash
    Rotate RotateAgain
    List ListThatPrunes
    Sweep
    Revoke RevokeToBeTold
    TellEnded Acknowledge
    Logout LogoutToBeTold LogoutOfNone LogoutOfRotated
}

use Operation::*;

/// Those that leave everything as it is.
const READS: [Operation; 7] =
    [Read, ReadOfAnother, ReadOfNone, LogoutOfNone, List, TellEnded, RotateAgain];

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
        let told = self.admin.with_options(told()).expect("a service").pinned_at(NOW);
        let fields = Metadata::new().with("flash", &1).expect("a field");
        let token = match operation {
            LoginThatPrunes | ReadOfEnded | ReadThatSlides | Extend | ListThatPrunes | Sweep
            | LoginThatEvicts | List | Read => create(&at_start, "ann").await,
            LoginToBeTold | ExtendToBeTold | RevokeToBeTold | LogoutToBeTold | TellEnded
            | Acknowledge | LogoutOfRotated => create(&told, "ann").await,
            Update | UpdateThatRemoves | TakeFlash => {
                at_start.create_session("ann", "acme", &fields).await.expect("a session")
            }
            _ => create(&self.admin, "ann").await,
        };
        if matches!(operation, LoginThatPrunes | ListThatPrunes | Sweep) {
            let keys: Vec<String> = self.backend.keys("*session:*").await.expect("keys");
            self.run(redis::cmd("DEL").arg(keys)).await;
        }
        if matches!(operation, ReadOfNone | LogoutOfNone) {
            assert!(self.admin.delete_session(&token).await.expect("an answer"));
        }
        if operation == ReadOfAnother || operation == RotateAgain {
            let hour = std::time::Duration::from_secs(3_600);
            self.admin.rotate_session(&token).grace(hour).await.expect("rotated");
        }
        if operation == LogoutOfRotated {
            at_start.rotate_session(&token).await.expect("an answer").expect("rotated");
        }
        self.run(redis::cmd("SCRIPT").arg("FLUSH")).await;
        token
    }

    async fn act(&self, operation: Operation, token: &SessionToken) -> Result<()> {
        let service = &self.limited;
        let later = |seconds| service.pinned_at(NOW + Duration::seconds(seconds));
        let login = async |sessions: &SessionService| {
            sessions.create_session("ann", "acme", &Metadata::new()).await.map(drop)
        };
        let read = async |sessions: &SessionService, is_there| {
            let session = sessions.get_session(token).await?;
            assert_eq!(session.is_some(), is_there, "{operation:?}");
            Ok(())
        };
        let update = async |changes: Result<Changes>| {
            let updated = later(1).update_session(token, changes?).await?;
            assert!(updated.is_done());
            Ok(())
        };
        let hour = std::time::Duration::from_secs(3_600);
        match operation {
            Login => login(service).await,
            LoginThatPrunes => login(&later(600)).await,
            LoginThatEvicts => {
                let capped = options(120_000, 3_600_000).cap(1, AtCap::EvictOldest);
                login(&service.with_options(capped)?.pinned_at(NOW)).await
            }
            LoginToBeTold => {
                // So late that the first one's end is told no longer.
                let at = NOW + Duration::days(30);
                login(&service.with_options(told())?.pinned_at(at)).await
            }
            LoginOfNobody => service.create_anonymous(&Metadata::new()).await.map(drop),
            Read => read(&later(0), true).await,
            ReadOfAnother => read(service, true).await,
            ReadThatSlides => read(&later(60), true).await,
            ReadOfEnded => read(&later(130), false).await,
            ReadOfNone => read(service, false).await,
            Extend | ExtendToBeTold => later(1).extend_session(token, hour).await.map(drop),
            Update => update(Changes::new().set("n", &1)).await,
            UpdateThatRemoves => update(Changes::new().remove("flash")).await,
            TakeFlash => {
                let taken = later(1).take_flash::<u8>(token, "flash").await?;
                assert_eq!(taken, Some(1));
                Ok(())
            }
            Rotate => service.rotate_session(token).await.map(|token| assert!(token.is_some())),
            RotateAgain => {
                service.rotate_session(token).await.map(|token| assert!(token.is_none()))
            }
            List => later(0).list_sessions("ann", "acme", 10, None).await.map(drop),
            ListThatPrunes => later(130).list_sessions("ann", "acme", 10, None).await.map(drop),
            Sweep => {
                let taken_off = later(130).sweep_user("ann", "acme").await?;
                assert_eq!(taken_off, 1);
                Ok(())
            }
            Revoke | RevokeToBeTold => {
                let ended = service.revoke_workspace_user("ann", "acme").await?;
                assert_eq!(ended, 1);
                Ok(())
            }
            // The shard of ann in acme.
            TellEnded => later(130).ended_sessions(66, 10).await.map(drop),
            Acknowledge => {
                let ended = self.admin.pinned_at(NOW + Duration::hours(2));
                let ended = ended.ended_sessions(66, 10).await.expect("an answer");
                assert_eq!(ended.len(), 1);
                service.acknowledge_ended(&ended).await
            }
            Logout => service.delete_session(token).await.map(|deleted| assert!(deleted)),
            LogoutToBeTold | LogoutOfRotated => {
                later(1).delete_session(token).await.map(|left| assert!(left))
            }
            LogoutOfNone => service.delete_session(token).await.map(|left| assert!(!left)),
        }
    }
}

/// Sessions whose end is told.
fn told() -> SessionOptions {
    options(120_000, 3_600_000).expiry_events()
}

#[tokio::test]
async fn the_documented_rule_is_enough() {
    let f = Fixture::start().await;
    for &operation in ALL {
        let token = f.prepare(operation).await;
        let before = f.backend.snapshot().await.expect("a snapshot");
        f.act(operation, &token).await.unwrap_or_else(|error| panic!("{operation:?}: {error}"));
        let writes = !READS.contains(&operation);
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
        for &operation in ALL {
            let token = f.prepare(operation).await;
            let before = f.backend.snapshot().await.expect("a snapshot");
            let outcome = f.act(operation, &token).await;
            let after = f.backend.snapshot().await.expect("a snapshot");
            if let Err(error) = outcome {
                missed += 1;
                assert_eq!(error.kind(), ErrorKind::Auth, "{operation:?} without {word}: {error}");
                assert!(after == before, "{operation:?} without {word} has written");
            } else if matches!(operation, Logout | LogoutToBeTold | ReadOfEnded | Revoke) {
                assert!(after.is_empty(), "{operation:?} without {word} left something behind");
            }
        }
        assert!(missed > 0, "no operation needs {word}");
    }
}
