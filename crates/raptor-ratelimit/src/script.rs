//! The calls of the script that decides: what goes in, and what comes back, checked. Concurrent ones
//! ride together, whatever their algorithms and whether they take, look or give back.

use std::fmt::Write;
use std::sync::LazyLock;

use bytes::Bytes;
use raptor_core::{Call, Error, ErrorKind, Key, Reply, Result, Script, Vectorised, Weight};

use crate::limit::Limit;
use crate::options::AcquireOptions;
use crate::receipt::Mark;

/// The script; `lua/base.lua` tells how its parts fit.
pub(crate) const SOURCE: &str = include!("lua/source.in");

static DECIDE: LazyLock<Script> = LazyLock::new(|| Script::new("ratelimit.decide", SOURCE));

/// What the script answers for one limit: verdict, remaining, retry_us, reset_us.
const FIELDS: usize = 4;

/// Requests of the script, any number in one call.
pub(crate) struct Decide;

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Takes all or nothing.
    Acquire,
    /// Takes nothing.
    Peek,
    /// Takes what fits.
    Charge,
}

/// One request as the script takes it.
pub(crate) struct Request {
    /// One a limit, all in one slot.
    keys: Vec<Key>,
    text: Bytes,
}

/// What the script said to one request.
pub(crate) struct Answer {
    /// By the clock that counted: the server's, or the one that was given.
    pub(crate) now_us: u64,
    /// One a limit.
    pub(crate) verdicts: Vec<Verdict>,
}

/// What the script said of one limit.
#[derive(Clone, Copy)]
pub(crate) struct Verdict {
    pub(crate) said: Said,
    pub(crate) remaining: u64,
    /// Until the same cost fits; what a receipt brought back.
    pub(crate) retry_us: u64,
    pub(crate) reset_us: u64,
    pub(crate) epoch: u64,
    /// The number that counts instead of the policy's.
    pub(crate) units: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Allowed,
    Denied,
    Never,
}

impl Request {
    /// `keys` and `limits` correspond; there is at least one.
    pub(crate) fn new(
        mode: Mode,
        keys: Vec<Key>,
        limits: &[Limit],
        options: &AcquireOptions,
    ) -> Self {
        let mode = match mode {
            Mode::Acquire => "",
            Mode::Peek => "p",
            Mode::Charge => "c",
        };
        let mut text = head(mode, options.now_us(), options.script_cost());
        for limit in limits {
            text.push(';');
            text.push_str(&limit.spec());
        }
        Self { keys, text: text.into() }
    }

    /// Gives back `cost` units of each limit, where they were charged.
    pub(crate) fn give_back(
        keys: Vec<Key>,
        limits: &[Limit],
        marks: &[Mark],
        cost: u64,
        now_us: Option<u64>,
    ) -> Self {
        let mut text = head("r", now_us, cost);
        for (limit, mark) in limits.iter().zip(marks) {
            // Writing to a string does not fail.
            let _ = write!(text, ";{}@{}@{}", limit.spec(), mark.at_us, mark.epoch);
        }
        Self { keys, text: text.into() }
    }
}

fn head(mode: &str, now_us: Option<u64>, cost: u64) -> String {
    let now = now_us.map_or_else(String::new, |us| us.to_string());
    format!("{mode}{now};{cost}")
}

impl Vectorised for Decide {
    type Op = Request;
    type Out = Replies;

    fn script(&self) -> &Script {
        &DECIDE
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

    fn read(&self, requests: &[Request], reply: Reply) -> Result<Vec<Result<Replies>>> {
        let reply: Vec<Reply> = reply.decode()?;
        let limits: usize = requests.iter().map(|request| request.keys.len()).sum();
        if reply.len() != 2 + FIELDS * limits {
            return Err(Error::codec(format!(
                "ratelimit.decide answered {} fields about {limits} limits",
                reply.len()
            )));
        }
        let mut reply = reply.into_iter();
        let mut next = || reply.next().unwrap_or(Reply::Nil);
        let status: Bytes = next().decode()?;
        if &status[..] != b"ok" {
            return Err(Error::codec("ratelimit.decide answered another status than `ok`"));
        }
        let now_us: u64 = next().decode()?;
        Ok(requests
            .iter()
            .map(|request| {
                let fields = reply.by_ref().take(FIELDS * request.keys.len()).collect();
                Ok(Replies { now_us, fields })
            })
            .collect())
    }
}

/// What came back for one request, yet to be read.
pub(crate) struct Replies {
    now_us: u64,
    /// [`FIELDS`] a limit.
    fields: Vec<Reply>,
}

impl Replies {
    /// What it means to who asked about `limits` at `now_us`.
    pub(crate) fn read(self, limits: &[Limit], now_us: Option<u64>) -> Result<Answer> {
        let mut fields = self.fields.into_iter();
        let mut next = || fields.next().unwrap_or(Reply::Nil);
        let mut verdicts = Vec::with_capacity(limits.len());
        for limit in limits {
            let verdict: Bytes = next().decode()?;
            let [remaining, retry_us, reset_us] =
                [next().decode::<u64>()?, next().decode()?, next().decode()?];
            let (said, notes) = match verdict.iter().position(|&byte| byte == b';') {
                Some(at) => (&verdict[..at], &verdict[at + 1..]),
                None => (&verdict[..], &[][..]),
            };
            let said = match said {
                b"allowed" => Said::Allowed,
                b"denied" => Said::Denied,
                b"never" => Said::Never,
                bad => return Err(bad_value(bad, limit)),
            };
            let (epoch, units) = noted(notes)?;
            verdicts.push(Verdict { said, remaining, retry_us, reset_us, epoch, units });
        }
        Ok(Answer { now_us: now_us.unwrap_or(self.now_us), verdicts })
    }
}

/// `<epoch>;<units>`, where a ruling stands.
fn noted(notes: &[u8]) -> Result<(u64, Option<u64>)> {
    if notes.is_empty() {
        return Ok((0, None));
    }
    let text = std::str::from_utf8(notes).unwrap_or_default();
    let numbers = text.split_once(';').and_then(|(epoch, units)| {
        Some((epoch.parse::<u64>().ok()?, Some(units.parse::<u64>().ok()?)))
    });
    numbers.ok_or_else(|| Error::codec("ratelimit.decide noted something else than two numbers"))
}

/// The error for a value that the script could not read.
pub(crate) fn bad_value(verdict: &[u8], limit: &Limit) -> Error {
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
            return Error::codec("ratelimit.decide gave a verdict that this version does not know");
        }
    };
    let policy = limit.policy().escape_ascii();
    Error::new(kind, format!("the state of rate limit policy {policy} {what}, or delete its key"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::OffsetDateTime;

    use super::*;
    use crate::decision::Decision;

    fn minute() -> Limit {
        Limit::strict(10, Duration::from_secs(60)).unwrap()
    }

    fn answer(verdict: &str, numbers: [i64; 3]) -> Vec<Reply> {
        let mut reply = vec![Reply::Bytes("ok".into()), Reply::Int(5_000_000)];
        reply.push(Reply::Bytes(verdict.to_owned().into()));
        reply.extend(numbers.map(Reply::Int));
        reply
    }

    fn request(limits: &[Limit], options: &AcquireOptions) -> Request {
        let keys = limits.iter().map(|limit| Key::raw(limit.policy().to_vec())).collect();
        Request::new(Mode::Acquire, keys, limits, options)
    }

    /// As many limits as named, one request.
    fn decided(reply: Vec<Reply>, limits: &[Limit]) -> Result<Decision> {
        let requests = [request(limits, &AcquireOptions::default())];
        let mut replies = Decide.read(&requests, Reply::Array(reply))?;
        Decision::of(&replies.remove(0)?.read(limits, None)?, limits)
    }

    #[test]
    fn requests_that_are_alike_are_written_alike() {
        let limits = [minute(), minute()];
        let text = |options: &AcquireOptions| request(&limits, options).text;
        let options = AcquireOptions::default();
        assert_eq!(text(&options), ";1;S10/60000000;S10/60000000");
        let options = options.cost(7).unwrap().now(OffsetDateTime::UNIX_EPOCH).unwrap();
        assert_eq!(text(&options), "0;7;S10/60000000;S10/60000000");
        let keys = vec![Key::raw("a")];
        let mark = Mark { at_us: 5, epoch: 6 };
        let back = Request::give_back(keys, &limits[..1], &[mark], 3, None);
        assert_eq!(back.text, "r;3;S10/60000000@5@6");
    }

    #[test]
    fn verdicts_become_results() {
        let decision = decided(answer("denied", [3, 7, 9]), &[minute()]).unwrap();
        let result = &decision.results[0];
        assert_eq!((result.allowed, result.limit, result.remaining), (false, 10, 3));
        assert_eq!(result.retry_after, Some(Duration::from_micros(7)));
        assert_eq!(result.reset_at.unix_timestamp_nanos(), 5_000_009_000);
        assert!(decided(answer("allowed", [3, 0, 9]), &[minute()]).unwrap().is_allowed());
        let ruled = decided(answer("allowed;77;50", [49, 0, 9]), &[minute()]).unwrap();
        assert_eq!((ruled.is_allowed(), ruled.results[0].limit), (true, 50));
    }

    #[test]
    fn each_request_gets_what_is_its_own_and_its_own_clock() {
        let pinned = AcquireOptions::default().now(OffsetDateTime::UNIX_EPOCH).unwrap();
        let requests = [
            request(&[minute(), minute()], &AcquireOptions::default()),
            request(&[minute()], &pinned),
        ];
        let mut reply = answer("allowed", [3, 0, 9]);
        reply.extend(answer("corrupt", [0; 3]).split_off(2));
        reply.extend(answer("never", [4, 0, 9]).split_off(2));
        let replies = Decide.read(&requests, Reply::Array(reply)).unwrap();
        let [first, second] = <[Result<Replies>; 2]>::try_from(replies).ok().unwrap();
        let error = first.unwrap().read(&[minute(), minute()], None).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Codec);
        let answer = second.unwrap().read(&[minute()], pinned.now_us()).unwrap();
        let decision = Decision::of(&answer, &[minute()]).unwrap();
        assert_eq!(decision.results[0].remaining, 4);
        assert_eq!(decision.results[0].reset_at.unix_timestamp_nanos(), 9_000);
    }

    #[test]
    fn bad_values_and_misfits_are_errors_and_never_an_admission() {
        for (verdict, kind) in [
            ("wrongtype", ErrorKind::WrongType),
            ("corrupt", ErrorKind::Codec),
            ("corrupt;1;2", ErrorKind::Codec),
            ("layout", ErrorKind::Codec),
            ("allowed;x;1", ErrorKind::Codec),
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
