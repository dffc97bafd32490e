//! The rule of docs/acl.md is enough, and each word of it is needed: without one the first operation that needs it
//! ends in a typed error and has taken nothing.

use anyhow::Result;
use raptor_core::{ErrorKind, RedisClient};
use raptor_ratelimit::{AcquireOptions, Limit, RateLimitService};
use raptor_testkit::{AclRule, Backend, redis};

use crate::rig::{MINUTE, START_US, config, instant, key, subject};

const DOCUMENT: &str = include_str!("../../../../docs/acl.md");

/// Limits by name. Before each operation 1 was taken of `used`, which is then rewritten in place, and 9 of `nine`,
/// which is rewritten whole: the next number is longer.
const OPERATIONS: [&[&str]; 5] =
    [&["new"], &["used"], &["nine"], &["used", "new"], &["nine", "used"]];

struct Fixture {
    backend: Backend,
    rule: AclRule,
    /// May do everything.
    admin: RateLimitService,
    /// May do what the rule says.
    limited: RateLimitService,
}

impl Fixture {
    async fn start() -> Result<Self> {
        let rule = AclRule::documented(DOCUMENT, "raptor-ratelimit").unwrap();
        let backend = Backend::with_acl(&rule).await?;
        let service = async |url: String| {
            let client = RedisClient::connect(config(url)?).await?;
            anyhow::Ok(RateLimitService::new(client))
        };
        let admin = service(backend.nodes()[0].url()).await?;
        let limited = service(backend.url()).await?;
        Ok(Self { backend, rule, admin, limited })
    }

    /// The state that each operation finds; no script is known to the server.
    async fn prepare(&self, used: &[String]) -> Result<()> {
        self.backend.query::<()>(&redis::cmd("FLUSHALL")).await?;
        for name in used {
            take(&self.admin, &[name], 1).await?;
        }
        take(&self.admin, &["nine"], 9).await?;
        Ok(self.backend.query::<()>(redis::cmd("SCRIPT").arg("FLUSH")).await?)
    }

    /// Many at once: the first goes by itself, the others ride together. How many failed.
    async fn crowd(&self) -> Result<usize> {
        let names: Vec<String> = (0..32).map(|n| format!("p{n}")).collect();
        let used: Vec<String> = names.iter().step_by(2).cloned().collect();
        self.prepare(&used).await?;
        let before = self.backend.snapshot().await?;
        let crowd: Vec<_> = names
            .into_iter()
            .map(|name| {
                let service = self.limited.clone();
                tokio::spawn(async move { (take(&service, &[&name], 1).await, name) })
            })
            .collect();
        let (mut outcomes, mut failed) = (Vec::new(), 0);
        for taken in crowd {
            outcomes.push(taken.await?);
        }
        let after = self.backend.snapshot().await?;
        for (outcome, name) in outcomes {
            let key = key(&name).into_bytes();
            let is_written = before.get(&key) != after.get(&key);
            assert_eq!(outcome.is_ok(), is_written, "{name}: {outcome:?}");
            if let Err(error) = outcome {
                assert_eq!(error.kind(), ErrorKind::Auth, "{name}: {error}");
                failed += 1;
            }
        }
        Ok(failed)
    }
}

async fn take(service: &RateLimitService, names: &[&str], cost: u64) -> raptor_core::Result<()> {
    let limits: Vec<Limit> = names
        .iter()
        .map(|name| Limit::strict(1_000, MINUTE).unwrap().named(*name).unwrap())
        .collect();
    let options = AcquireOptions::default().cost(cost)?.now(instant(START_US))?;
    assert!(service.acquire(&subject(), &limits, &options).await?.is_allowed());
    Ok(())
}

/// What is asked besides: an operator's words, and permits.
#[derive(Clone, Copy, Debug)]
enum Word {
    Reset,
    Block,
    Override,
    List,
    Permit,
    FullPermit,
}

const WORDS: [Word; 6] =
    [Word::Reset, Word::Block, Word::Override, Word::List, Word::Permit, Word::FullPermit];

impl Fixture {
    async fn say(&self, word: Word) -> raptor_core::Result<()> {
        let limit = Limit::strict(1_000, MINUTE)?.named("used")?;
        let (service, who, options) = (&self.limited, subject(), AcquireOptions::default());
        match word {
            Word::Reset => service.reset(&who, &[limit], &options).await,
            Word::Block => service.block(&who, &limit, MINUTE, &options).await,
            Word::Override => service.set_override(&who, &limit, 5, MINUTE, &options).await,
            Word::List => service.list("u", &options).await.map(drop),
            Word::Permit => {
                let asked = service.concurrent(&who, 2, MINUTE, &options).await?;
                let permit = asked.permit().expect("there is a place");
                assert!(permit.extend(MINUTE).await?);
                permit.release().await.map(drop)
            }
            Word::FullPermit => service.concurrent(&who, 1, MINUTE, &options).await.map(|asked| {
                assert!(asked.permit().is_none(), "the admin has the one place");
            }),
        }
    }

    /// A place is taken, for good.
    async fn take_a_place(&self) -> Result<()> {
        let asked =
            self.admin.concurrent(&subject(), 1, MINUTE, &AcquireOptions::default()).await?;
        std::mem::forget(asked.permit());
        Ok(self.backend.query::<()>(redis::cmd("SCRIPT").arg("FLUSH")).await?)
    }
}

#[tokio::test]
async fn the_documented_rule_is_enough() -> Result<()> {
    let f = Fixture::start().await?;
    for names in OPERATIONS {
        f.prepare(&["used".into()]).await?;
        take(&f.limited, names, 1).await?;
    }
    for word in WORDS {
        f.prepare(&["used".into()]).await?;
        f.take_a_place().await?;
        f.say(word).await?;
    }
    assert_eq!(f.crowd().await?, 0);
    Ok(())
}

#[tokio::test]
async fn one_word_less_is_a_typed_error_and_nothing_is_taken() -> Result<()> {
    let f = Fixture::start().await?;
    for (word, less) in f.rule.each_without() {
        f.backend.query::<()>(&less.command()).await?;
        let mut missed = 0;
        for names in OPERATIONS {
            f.prepare(&["used".into()]).await?;
            let before = f.backend.snapshot().await?;
            if let Err(error) = take(&f.limited, names, 1).await {
                missed += 1;
                assert_eq!(error.kind(), ErrorKind::Auth, "{names:?} without {word}: {error}");
                assert!(f.backend.snapshot().await? == before, "{names:?} without {word}");
            }
        }
        if missed > 0 {
            assert!(f.crowd().await? > 0, "a crowd without {word}");
        }
        for asked in WORDS {
            f.prepare(&["used".into()]).await?;
            f.take_a_place().await?;
            let before = f.backend.snapshot().await?;
            if let Err(error) = f.say(asked).await {
                missed += 1;
                assert_eq!(error.kind(), ErrorKind::Auth, "{asked:?} without {word}: {error}");
                // A permit that cannot be released stays, and expires.
                let untouched = f.backend.snapshot().await? == before;
                let stays = matches!(asked, Word::Permit) && word.contains("zrem");
                assert!(untouched || stays, "{asked:?} without {word}");
            }
        }
        assert!(missed > 0, "no operation needs {word}");
    }
    Ok(())
}
