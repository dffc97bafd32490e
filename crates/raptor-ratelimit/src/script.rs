//! The calls of `lua/acquire.lua`: what goes in, and what comes back, checked. Concurrent ones ride together.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use raptor_core::{Call, Error, ErrorKind, Key, Reply, Result, Script, Vectorised, Weight};
use time::OffsetDateTime;

use crate::decision::{Decision, RateLimitResult};
use crate::limit::{Algorithm, Limit};
use crate::options::AcquireOptions;

static ACQUIRE: LazyLock<Script> =
    LazyLock::new(|| Script::new("ratelimit.acquire", include_str!("lua/acquire.lua")));

/// What the script answers for one limit: verdict, remaining, retry_us, reset_us.
const FIELDS: usize = 4;

/// Requests of the script, any number in one call.
pub(crate) struct Acquire;

/// One request as the script takes it.
pub(crate) struct Request {
    /// One a limit, all in one slot.
    keys: Vec<Key>,
    text: Bytes,
}

/// What the script said to one request.
pub(crate) struct Answer {
    /// By the server's clock.
    now_us: u64,
    /// [`FIELDS`] a limit.
    fields: Vec<Reply>,
}

impl Request {
    /// `keys` and `limits` correspond; there is at least one.
    pub(crate) fn new(keys: Vec<Key>, limits: &[Limit], options: &AcquireOptions) -> Self {
        let now = options.now_us().map_or_else(String::new, |us| us.to_string());
        let mut text = format!("{now};{}", options.script_cost());
        for limit in limits {
            text.push(';');
            text.push_str(&spec(limit));
        }
        Self { keys, text: text.into() }
    }
}

impl Vectorised for Acquire {
    type Op = Request;
    type Out = Answer;

    fn script(&self) -> &Script {
        &ACQUIRE
    }

    fn key<'op>(&self, request: &'op Request) -> &'op Key {
        &request.keys[0]
    }

    fn weight(&self, request: &Request) -> Weight {
        let keys = request.keys.iter().map(|key| key.as_bytes().len());
        Weight {
            arguments: request.keys.len() + 1,
            bytes: keys.sum::<usize>() + request.text.len(),
        }
    }

    fn write<'c>(&self, requests: &[Request], mut call: Call<'c>) -> Call<'c> {
        for request in requests {
            for key in &request.keys {
                call = call.key(key);
            }
            call = call.arg(&request.text);
        }
        call
    }

    fn read(&self, requests: &[Request], reply: Reply) -> Result<Vec<Result<Answer>>> {
        let reply: Vec<Reply> = reply.decode()?;
        let limits: usize = requests.iter().map(|request| request.keys.len()).sum();
        if reply.len() != 2 + FIELDS * limits {
            return Err(Error::codec(format!(
                "ratelimit.acquire answered {} fields about {limits} limits",
                reply.len()
            )));
        }
        let mut reply = reply.into_iter();
        let mut next = || reply.next().unwrap_or(Reply::Nil);
        let status: Bytes = next().decode()?;
        if &status[..] != b"ok" {
            return Err(Error::codec("ratelimit.acquire answered another status than `ok`"));
        }
        let now_us: u64 = next().decode()?;
        Ok(requests
            .iter()
            .map(|request| {
                let fields = reply.by_ref().take(FIELDS * request.keys.len()).collect();
                Ok(Answer { now_us, fields })
            })
            .collect())
    }
}

/// A limit as the script takes it.
fn spec(limit: &Limit) -> String {
    match limit.algorithm() {
        Algorithm::Strict => format!("{}/{}", limit.limit(), limit.window_us()),
    }
}

impl Answer {
    /// What it means to who asked for `limits`.
    pub(crate) fn decide(self, limits: &[Limit], options: &AcquireOptions) -> Result<Decision> {
        let now_us = options.now_us().unwrap_or(self.now_us);
        let mut fields = self.fields.into_iter();
        let mut next = || fields.next().unwrap_or(Reply::Nil);
        let mut results = Vec::with_capacity(limits.len());
        for limit in limits {
            let verdict: Bytes = next().decode()?;
            let [remaining, retry_us, reset_us] =
                [next().decode::<u64>()?, next().decode()?, next().decode()?];
            let retry_after = match &verdict[..] {
                b"denied" => Some(Duration::from_micros(retry_us)),
                b"allowed" | b"never" => None,
                bad => return Err(bad_value(bad, limit)),
            };
            results.push(RateLimitResult {
                allowed: &verdict[..] == b"allowed",
                limit: limit.limit(),
                remaining,
                reset_at: instant(now_us.saturating_add(reset_us))?,
                retry_after,
            });
        }
        Ok(Decision::new(results))
    }
}

fn instant(us: u64) -> Result<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1_000)
        .map_err(|error| Error::codec("the server's clock is out of range").with_source(error))
}

/// The error for a value that the script could not read.
fn bad_value(verdict: &[u8], limit: &Limit) -> Error {
    let (kind, what) = match verdict {
        b"wrongtype" => (
            ErrorKind::WrongType,
            "is not a string: use another prefix than the program that wrote it",
        ),
        b"layout" => (
            ErrorKind::Codec,
            "has a newer layout or algorithm than this version knows: update this process",
        ),
        b"corrupt" => (ErrorKind::Codec, "is damaged, or another program's: use another prefix"),
        _ => {
            return Error::codec(
                "ratelimit.acquire gave a verdict that this version does not know",
            );
        }
    };
    let policy = limit.policy().escape_ascii();
    Error::new(kind, format!("the state of rate limit policy {policy} {what}, or delete its key"))
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

    /// As many limits as named, one request.
    fn decided(reply: Vec<Reply>, limits: &[Limit]) -> Result<Decision> {
        let options = AcquireOptions::default();
        let keys = limits.iter().map(|limit| Key::raw(limit.policy().to_vec())).collect();
        let requests = [Request::new(keys, limits, &options)];
        let mut answers = Acquire.read(&requests, Reply::Array(reply))?;
        answers.remove(0)?.decide(limits, &options)
    }

    #[test]
    fn requests_that_are_alike_are_written_alike() {
        let text =
            |options: &AcquireOptions| Request::new(vec![], &[minute(), minute()], options).text;
        let options = AcquireOptions::default();
        assert_eq!(text(&options), ";1;10/60000000;10/60000000");
        let options = options.cost(7).unwrap().now(OffsetDateTime::UNIX_EPOCH).unwrap();
        assert_eq!(text(&options), "0;7;10/60000000;10/60000000");
    }

    #[test]
    fn verdicts_become_results() {
        let decision = decided(answer("denied", [3, 7, 9]), &[minute()]).unwrap();
        let result = &decision.results[0];
        assert_eq!((result.allowed, result.limit, result.remaining), (false, 10, 3));
        assert_eq!(result.retry_after, Some(Duration::from_micros(7)));
        assert_eq!(result.reset_at.unix_timestamp_nanos(), 5_000_009_000);
        assert!(decided(answer("allowed", [3, 0, 9]), &[minute()]).unwrap().is_allowed());
    }

    #[test]
    fn each_request_gets_what_is_its_own_and_its_own_clock() {
        let key = |n: u8| Key::raw(vec![n]);
        let pinned = AcquireOptions::default().now(OffsetDateTime::UNIX_EPOCH).unwrap();
        let requests = [
            Request::new(vec![key(1), key(2)], &[minute(), minute()], &AcquireOptions::default()),
            Request::new(vec![key(3)], &[minute()], &pinned),
        ];
        let mut reply = answer("allowed", [3, 0, 9]);
        reply.extend(answer("corrupt", [0; 3]).split_off(2));
        reply.extend(answer("never", [4, 0, 9]).split_off(2));
        let answers = Acquire.read(&requests, Reply::Array(reply)).unwrap();
        let [first, second] = <[Result<Answer>; 2]>::try_from(answers).ok().unwrap();
        let error = first.unwrap().decide(&[minute(), minute()], &AcquireOptions::default());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Codec);
        let decision = second.unwrap().decide(&[minute()], &pinned).unwrap();
        assert_eq!(decision.results[0].remaining, 4);
        assert_eq!(decision.results[0].reset_at.unix_timestamp_nanos(), 9_000);
    }

    #[test]
    fn bad_values_and_misfits_are_errors_and_never_an_admission() {
        for (verdict, kind) in [
            ("wrongtype", ErrorKind::WrongType),
            ("corrupt", ErrorKind::Codec),
            ("layout", ErrorKind::Codec),
            ("", ErrorKind::Codec),
        ] {
            let error = decided(answer(verdict, [0; 3]), &[minute()]).unwrap_err();
            assert_eq!(error.kind(), kind, "{verdict}");
        }
        let whole = answer("allowed", [9, 0, 9]);
        for len in 0..whole.len() {
            assert!(decided(whole[..len].to_vec(), &[minute()]).is_err());
        }
        assert!(decided(whole.clone(), &[minute(), minute()]).is_err());
        let long = [whole.clone(), vec![Reply::Int(0)]].concat();
        assert!(decided(long, &[minute()]).is_err());
        let other = [vec![Reply::Bytes("no".into())], whole[1..].to_vec()].concat();
        assert!(decided(other, &[minute()]).is_err());
        assert!(decided(answer("allowed", [-1, 0, 9]), &[minute()]).is_err());
    }
}
