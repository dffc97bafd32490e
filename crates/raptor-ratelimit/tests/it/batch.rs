//! The script itself with several requests in one call, as coalesced callers will send them: of one slot.

use anyhow::Result;
use raptor_testkit::redis::{self, Value};

use crate::rig::{Rig, START_US};

const SOURCE: &str = include!("../../src/lua/source.in");

/// Requests of (cost, [(key, limit)]) with windows of a minute; verdicts and what remains.
async fn batch(rig: &Rig, requests: &[(u64, &[(&str, u64)])]) -> Result<Vec<(String, i64)>> {
    let limits: Vec<_> = requests.iter().flat_map(|(_, limits)| limits.iter()).collect();
    let mut command = redis::cmd("EVAL");
    command.arg(SOURCE).arg(limits.len());
    for (key, _) in &limits {
        command.arg(*key);
    }
    for (cost, limits) in requests {
        let specs: Vec<_> = limits.iter().map(|(_, limit)| format!("S{limit}/60000000")).collect();
        command.arg(format!("{START_US};{cost};{}", specs.join(";")));
    }
    let reply: Vec<Value> = rig.query(&mut command).await?;
    assert_eq!(reply.len(), 2 + 4 * limits.len());
    reply[2..]
        .chunks(4)
        .map(|one| {
            Ok((redis::from_redis_value(one[0].clone())?, redis::from_redis_value(one[1].clone())?))
        })
        .collect()
}

fn verdicts(of: &[(&str, i64)]) -> Vec<(String, i64)> {
    of.iter().map(|&(verdict, remaining)| (verdict.to_owned(), remaining)).collect()
}

#[tokio::test]
async fn requests_on_one_key_see_each_other_in_order() -> Result<()> {
    let rig = Rig::start().await?;
    let one: (u64, &[(&str, u64)]) = (1, &[("{u}a", 2)]);
    let got = batch(&rig, &[one, one, one, (3, &[("{u}a", 2)])]).await?;
    assert_eq!(got, verdicts(&[("allowed", 1), ("allowed", 0), ("denied", 0), ("never", 0)]));
    Ok(())
}

#[tokio::test]
async fn one_request_s_bad_value_is_its_alone() -> Result<()> {
    let rig = Rig::start().await?;
    rig.query::<i64>(redis::cmd("LPUSH").arg("{u}list").arg("x")).await?;
    rig.query::<()>(redis::cmd("SET").arg("{u}text").arg("x")).await?;
    let got = batch(
        &rig,
        &[
            (1, &[("{u}a", 5)]),
            (1, &[("{u}b", 5), ("{u}list", 5)]),
            (1, &[("{u}text", 5)]),
            (2, &[("{u}a", 5), ("{u}b", 5)]),
        ],
    )
    .await?;
    let want = [
        ("allowed", 4),
        ("allowed", 5),
        ("wrongtype", 5),
        ("corrupt", 5),
        ("allowed", 2),
        ("allowed", 3),
    ];
    assert_eq!(got, verdicts(&want));
    Ok(())
}

#[tokio::test]
async fn a_denied_request_leaves_its_other_limits_to_the_next() -> Result<()> {
    let rig = Rig::start().await?;
    let got = batch(
        &rig,
        &[(3, &[("{u}a", 5), ("{u}b", 3)]), (1, &[("{u}a", 5), ("{u}b", 3)]), (2, &[("{u}a", 5)])],
    )
    .await?;
    let want = [("allowed", 2), ("allowed", 0), ("allowed", 2), ("denied", 0), ("allowed", 0)];
    assert_eq!(got, verdicts(&want));
    Ok(())
}
