//! The calls of `lua/record.lua`: what goes in, and what comes back. Concurrent ones ride together.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use raptor_core::{Call, Error, Key, Reply, Result, Script, ToArg, Vectorised, Weight};

use super::event::UsageEvent;
use super::money::Cost;
use super::options::UsageOptions;

static RECORD: LazyLock<Script> =
    LazyLock::new(|| Script::new("usage.record", include_str!("lua/record.lua")));

/// Charges of the script, any number in one call, of one workspace or several.
pub(super) struct Record;

/// One event as the script takes it.
pub(super) struct Charge {
    /// All that stands before the keys.
    args: Vec<Bytes>,
    /// The seen ids, then the periods.
    seen: KeyBlock,
    periods: Vec<KeyBlock>,
}

/// Keys that stand together wherever they are named.
pub(super) struct KeyBlock {
    pub(super) first: Key,
    pub(super) others: Vec<Key>,
    pub(super) until_ms: i64,
}

/// What the script said to one event.
pub(super) struct Answer {
    pub(super) status: Bytes,
    /// By the clock that counted for the event.
    pub(super) now_ms: i64,
}

impl Charge {
    /// `now_ms` is a pinned clock; `cost` fits the script's numbers.
    pub(super) fn new(
        event: &UsageEvent,
        cost: Cost,
        options: &UsageOptions,
        now_ms: Option<i64>,
        seen: KeyBlock,
        periods: Vec<KeyBlock>,
    ) -> Self {
        let counts = event.counts();
        let mut args = vec![
            now_ms.map_or_else(Bytes::new, ToArg::to_arg),
            options.accept_late_ms().to_arg(),
            options.accept_ahead_ms().to_arg(),
            event.id().to_bytes().to_vec().to_arg(),
            event.at_ms().to_arg(),
        ];
        for delta in [counts.input, counts.output, counts.cached, counts.requests] {
            args.push(delta.to_arg());
        }
        args.push(cost.micros().to_arg());
        args.push(i64::from(cost.rest_pico()).to_arg());
        args.extend(event.names().map(ToArg::to_arg));
        args.push(periods.len().to_arg());
        Self { args, seen, periods }
    }

    fn blocks(&self) -> impl Iterator<Item = &KeyBlock> {
        std::iter::once(&self.seen).chain(&self.periods)
    }
}

impl KeyBlock {
    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl Vectorised for Record {
    type Op = Charge;
    type Out = Answer;

    fn script(&self) -> &Script {
        &RECORD
    }

    fn key<'op>(&self, charge: &'op Charge) -> &'op Key {
        &charge.seen.first
    }

    /// As if no other event of the call had the same keys.
    fn weight(&self, charge: &Charge) -> Weight {
        let mut weight = Weight {
            arguments: charge.args.len(),
            bytes: charge.args.iter().map(Bytes::len).sum(),
        };
        for block in charge.blocks() {
            weight.arguments += 3 + block.others.len();
            weight.bytes += 16 + block.keys().map(|key| key.as_bytes().len()).sum::<usize>();
        }
        weight
    }

    fn write<'c>(&self, charges: &[Charge], mut call: Call<'c>) -> Call<'c> {
        // Equal first keys begin equal blocks.
        let mut indexes = HashMap::new();
        let mut next = 1_usize;
        for charge in charges {
            call = call.args(&charge.args);
            for block in charge.blocks() {
                let index = *indexes.entry(&block.first).or_insert(next);
                if index == next {
                    call = block.keys().fold(call, |call, key| call.key(key));
                    next += 1 + block.others.len();
                }
                call = call.arg(index).arg(block.until_ms);
            }
        }
        call
    }

    fn read(&self, charges: &[Charge], reply: Reply) -> Result<Vec<Result<Answer>>> {
        let mut reply = reply.decode::<Vec<Reply>>()?.into_iter();
        let misfit = || Error::codec("usage.record answered with what it never answers");
        let status: Bytes = reply.next().ok_or_else(misfit)?.decode()?;
        if &status[..] != b"ok" || reply.len() != 2 * charges.len() {
            return Err(misfit());
        }
        let mut answers = Vec::with_capacity(charges.len());
        while let (Some(status), Some(now_ms)) = (reply.next(), reply.next()) {
            answers.push(Ok(Answer { status: status.decode()?, now_ms: now_ms.decode()? }));
        }
        Ok(answers)
    }

    /// An event is charged once by its id.
    fn idempotent(&self) -> bool {
        true
    }
}
