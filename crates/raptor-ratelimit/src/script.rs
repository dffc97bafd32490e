//! The call of `lua/acquire.lua`: what goes in, and what comes back, checked.

use std::sync::LazyLock;
use std::time::Duration;

use raptor_core::{Error, ErrorKind, Key, RedisClient, Reply, Result, Script};
use time::OffsetDateTime;

use crate::decision::{Decision, RateLimitResult};
use crate::limit::{Algorithm, Limit};
use crate::options::AcquireOptions;

static ACQUIRE: LazyLock<Script> =
    LazyLock::new(|| Script::new("ratelimit.acquire", include_str!("lua/acquire.lua")));

/// What the script answers for one limit: verdict, remaining, retry_us, reset_us.
const FIELDS: usize = 4;

/// One request of the script; `keys` and `limits` correspond.
pub(crate) async fn acquire(
    client: &RedisClient,
    keys: &[Key],
    limits: &[Limit],
    options: &AcquireOptions,
) -> Result<Decision> {
    let mut call = client.script(&ACQUIRE);
    for key in keys {
        call = call.key(key);
    }
    let now = options.now_us().map_or_else(String::new, |us| us.to_string());
    call = call.arg(now).arg(options.script_cost()).arg(limits.len());
    for limit in limits {
        call = call.arg(spec(limit));
    }
    read_reply(call.run::<Vec<Reply>>().await?, limits)
}

/// A limit as the script takes it.
fn spec(limit: &Limit) -> String {
    match limit.algorithm() {
        Algorithm::Strict => format!("{}/{}", limit.limit(), limit.window_us()),
    }
}

fn read_reply(reply: Vec<Reply>, limits: &[Limit]) -> Result<Decision> {
    let mut reply = reply.into_iter();
    let mut next = move || {
        reply.next().ok_or_else(|| Error::codec("the answer of ratelimit.acquire is too short"))
    };
    let status: String = next()?.decode()?;
    if status != "ok" {
        return Err(Error::codec(format!("ratelimit.acquire answered `{status}`, not `ok`")));
    }
    let now_us: u64 = next()?.decode()?;
    let mut results = Vec::with_capacity(limits.len());
    for limit in limits {
        let verdict: String = next()?.decode()?;
        let [remaining, retry_us, reset_us] =
            [next()?.decode::<u64>()?, next()?.decode()?, next()?.decode()?];
        let retry_after = match verdict.as_str() {
            "denied" => Some(Duration::from_micros(retry_us)),
            "allowed" | "never" => None,
            bad => return Err(bad_value(bad, limit)),
        };
        let allowed = verdict == "allowed";
        let reset_at = instant(now_us.saturating_add(reset_us))?;
        results.push(RateLimitResult {
            allowed,
            limit: limit.limit(),
            remaining,
            reset_at,
            retry_after,
        });
    }
    if next().is_ok() {
        return Err(Error::codec(format!(
            "the answer of ratelimit.acquire is longer than {FIELDS} fields a limit"
        )));
    }
    Ok(Decision::new(results))
}

fn instant(us: u64) -> Result<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1_000)
        .map_err(|error| Error::codec("the server's clock is out of range").with_source(error))
}

/// The error for a value that the script could not read.
fn bad_value(verdict: &str, limit: &Limit) -> Error {
    let (kind, what) = match verdict {
        "wrongtype" => (ErrorKind::WrongType, "is not a string; another program wrote it"),
        "layout" => (ErrorKind::Codec, "has a layout or algorithm that this version does not know"),
        "corrupt" => (ErrorKind::Codec, "is damaged, or another program wrote it"),
        _ => {
            return Error::codec(
                "ratelimit.acquire gave a verdict that this version does not know",
            );
        }
    };
    let policy = limit.policy().escape_ascii();
    Error::new(kind, format!("the state of rate limit policy {policy} {what}; delete its key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute() -> Limit {
        Limit::strict(10, Duration::from_secs(60)).unwrap()
    }

    fn answer(verdict: &str, numbers: [i64; 3]) -> Vec<Reply> {
        let mut reply = vec![Reply::Bytes("ok".into()), Reply::Int(5_000_000)];
        reply.push(Reply::Bytes(verdict.to_owned().into()));
        reply.extend(numbers.map(Reply::Int));
        reply
    }

    #[test]
    fn verdicts_become_results() {
        let decision = read_reply(answer("denied", [3, 7, 9]), &[minute()]).unwrap();
        let result = &decision.results[0];
        assert_eq!((result.allowed, result.limit, result.remaining), (false, 10, 3));
        assert_eq!(result.retry_after, Some(Duration::from_micros(7)));
        assert_eq!(result.reset_at.unix_timestamp_nanos(), 5_000_009_000);
        assert!(read_reply(answer("allowed", [3, 0, 9]), &[minute()]).unwrap().is_allowed());
    }

    #[test]
    fn bad_values_and_misfits_are_errors_and_never_an_admission() {
        for (verdict, kind) in [
            ("wrongtype", ErrorKind::WrongType),
            ("corrupt", ErrorKind::Codec),
            ("layout", ErrorKind::Codec),
            ("", ErrorKind::Codec),
        ] {
            let error = read_reply(answer(verdict, [0; 3]), &[minute()]).unwrap_err();
            assert_eq!(error.kind(), kind, "{verdict}");
        }
        let whole = answer("allowed", [9, 0, 9]);
        for len in 0..whole.len() {
            assert!(read_reply(whole[..len].to_vec(), &[minute()]).is_err());
        }
        assert!(read_reply(whole.clone(), &[minute(), minute()]).is_err());
        let long = [whole, vec![Reply::Int(0)]].concat();
        assert!(read_reply(long, &[minute()]).is_err());
        assert!(read_reply(answer("allowed", [-1, 0, 9]), &[minute()]).is_err());
    }
}
