//! Refunds: once, where it was charged, or void.

use anyhow::Result;
use raptor_ratelimit::{AcquireOptions, Algorithm, Limit, Outcome, Receipt};
use raptor_testkit::redis;

use crate::model::Record;
use crate::rig::{MINUTE, Random, Rig, START_US, instant, subject};

const SECOND: u64 = 1_000_000;
const ALL: [Algorithm; 5] =
    [Algorithm::Strict, Algorithm::Log, Algorithm::Bucket, Algorithm::Fixed, Algorithm::Counter];

/// Refunds go by the clock that the admission was given: this one is later.
fn later(receipt: Receipt, at_us: u64) -> Receipt {
    receipt.at(instant(at_us)).unwrap()
}

#[tokio::test]
async fn a_refund_brings_back_what_was_taken() -> Result<()> {
    let rig = Rig::start().await?;
    for algorithm in ALL {
        let limits = [Limit::new(algorithm, 10, MINUTE)?];
        assert!(rig.at(START_US, &limits, 4).await?.is_allowed());
        let mut decision = rig.at(START_US, &limits, 5).await?;
        assert_eq!(decision.results[0].remaining, 1);
        let receipt = decision.receipt.take().unwrap();
        assert_eq!(receipt.cost(), 5);
        let refund = rig.service.refund(receipt).await?;
        assert_eq!((&refund.units[..], refund.is_void()), (&[5][..], false), "{algorithm:?}");
        let left = rig.at(START_US, &limits, 1).await?.results[0].remaining;
        assert_eq!(left, 5, "{algorithm:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_refund_goes_to_the_bucket_that_was_charged() -> Result<()> {
    let rig = Rig::start().await?;
    for algorithm in [Algorithm::Strict, Algorithm::Log] {
        let limits = [Limit::new(algorithm, 10, MINUTE)?];
        let receipt = rig.at(START_US, &limits, 4).await?.receipt.take().unwrap();
        assert!(rig.at(START_US + 20 * SECOND, &limits, 5).await?.is_allowed());
        let at = START_US + 30 * SECOND;
        assert_eq!(rig.service.refund(later(receipt, at)).await?.units, [4]);
        assert_eq!(rig.at(at, &limits, 5).await?.results[0].remaining, 0, "{algorithm:?}");
        // The five of the 20th second stay until they leave; nothing leaves at the 60th.
        let early = START_US + 79 * SECOND;
        assert!(!rig.at(early, &limits, 1).await?.is_allowed(), "{algorithm:?}");
        assert!(rig.at(START_US + 81 * SECOND, &limits, 5).await?.is_allowed(), "{algorithm:?}");
    }
    Ok(())
}

/// What was charged last and given back is not waited for.
#[tokio::test]
async fn after_a_refund_the_whole_is_back_when_it_says() -> Result<()> {
    let rig = Rig::start().await?;
    for (algorithm, later_us) in [
        (Algorithm::Strict, 30 * SECOND),
        (Algorithm::Strict, SECOND / 4),
        (Algorithm::Log, 30 * SECOND),
        (Algorithm::Fixed, 30 * SECOND),
    ] {
        let limits =
            [Limit::new(algorithm, 10, MINUTE)?.named(format!("{algorithm:?}{later_us}"))?];
        assert!(rig.at(START_US, &limits, 5).await?.is_allowed());
        let second = START_US + later_us;
        let receipt = rig.at(second, &limits, 5).await?.receipt.take().unwrap();
        let now = second + SECOND;
        assert_eq!(rig.service.refund(later(receipt, now)).await?.units, [5]);
        let look = async |at| {
            let options = AcquireOptions::default().now(instant(at))?;
            rig.service.peek(&subject(), &limits, &options).await
        };
        let reset_us = look(now).await?.results[0].reset_after.as_micros() as u64;
        assert!(reset_us <= START_US + 61 * SECOND - now, "{algorithm:?}: {reset_us}");
        assert_eq!(look(now + reset_us - 1).await?.results[0].remaining, 5, "{algorithm:?}");
        assert_eq!(look(now + reset_us).await?.results[0].remaining, 10, "{algorithm:?}");
    }
    Ok(())
}

#[tokio::test]
async fn charges_of_one_microsecond_come_back_from_a_log_in_any_order() -> Result<()> {
    let rig = Rig::start().await?;
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for (before, after) in [(0, 0), (2, 0), (0, 2), (2, 2)] {
            let name = format!("{order:?} {before} {after}");
            let limits = [Limit::log(10, MINUTE)?.named(&name)?];
            let at = START_US + SECOND;
            if before > 0 {
                assert!(rig.at(START_US, &limits, before).await?.is_allowed());
            }
            let mut receipts = Vec::new();
            for cost in [3, 1, 2] {
                receipts.push(rig.at(at, &limits, cost).await?.receipt.take());
            }
            let now = at + SECOND;
            if after > 0 {
                assert!(rig.at(now, &limits, after).await?.is_allowed());
            }
            let mut left = 10 - before - after - 6;
            for index in order {
                let receipt = receipts[index].take().unwrap();
                let cost = receipt.cost();
                let refund = rig.service.refund(later(receipt, now)).await?;
                assert_eq!(refund.units, [cost], "{name}");
                left += cost;
                assert!(!rig.at(now, &limits, left + 1).await?.is_allowed(), "{name}: {left}");
            }
            // What was before and after leaves in its own time, and not earlier.
            let minute = 60 * SECOND;
            for (at, taken) in [
                (START_US + minute - 1, before + after),
                (START_US + minute, after),
                (now + minute - 1, after),
                (now + minute, 0),
            ] {
                let peeked = AcquireOptions::default().now(instant(at))?;
                let peeked = rig.service.peek(&subject(), &limits, &peeked).await?;
                assert_eq!(peeked.results[0].remaining, 10 - taken, "{name}: {}", at - START_US);
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_admissions_of_a_log_refunded_at_once_leave_nothing_taken() -> Result<()> {
    let rig = Rig::start().await?;
    let limit = Limit::log(1_000, MINUTE)?;
    let mut calls = Vec::new();
    for n in 0..64 {
        let (service, limits) = (rig.service.clone(), [limit.clone()]);
        calls.push(tokio::spawn(async move {
            let cost = AcquireOptions::default().cost(1 + n % 4)?;
            service.acquire(&subject(), &limits, &cost).await
        }));
    }
    let mut receipts = Vec::new();
    for call in calls {
        receipts.extend(call.await??.receipt.take());
    }
    assert_eq!(receipts.len(), 64);
    receipts.sort_by_key(Receipt::cost);
    let mut refunds = Vec::new();
    for receipt in receipts {
        let service = rig.service.clone();
        refunds.push(tokio::spawn(async move {
            let cost = receipt.cost();
            service.refund(receipt).await.map(|refund| (cost, refund.units))
        }));
    }
    for refund in refunds {
        let (cost, units) = refund.await??;
        assert_eq!(units, [cost]);
    }
    let options = AcquireOptions::default();
    let left = rig.service.peek(&subject(), &[limit], &options).await?.results[0].remaining;
    assert_eq!(left, 1_000);
    Ok(())
}

#[tokio::test]
async fn what_is_back_by_itself_is_not_given_back_again() -> Result<()> {
    let rig = Rig::start().await?;
    for algorithm in ALL {
        let limits = [Limit::new(algorithm, 10, MINUTE)?];
        let receipt = rig.at(START_US, &limits, 10).await?.receipt.take().unwrap();
        let at = START_US + 130 * SECOND;
        assert!(rig.at(at, &limits, 10).await?.is_allowed());
        let refund = rig.service.refund(later(receipt, at)).await?;
        assert!(refund.is_void(), "{algorithm:?}: {refund:?}");
        assert!(!rig.at(at, &limits, 1).await?.is_allowed(), "{algorithm:?}");
    }
    // Half of a bucket has drained, and only the other half comes back.
    let limits = [Limit::bucket(10, MINUTE)?.named("half")?];
    let receipt = rig.at(START_US, &limits, 10).await?.receipt.take().unwrap();
    let at = START_US + 30 * SECOND;
    assert_eq!(rig.service.refund(later(receipt, at)).await?.units, [5], "half is left");
    Ok(())
}

#[tokio::test]
async fn a_unit_that_is_draining_comes_back_from_a_bucket_as_far_as_it_is_there() -> Result<()> {
    let rig = Rig::start().await?;
    for (units, passed) in [(10, 0), (10, 1), (10, 5_999_999), (7, 0), (7, 1), (7, 8_000_000)] {
        let limits = [Limit::bucket(units, MINUTE)?.named(format!("{units}-{passed}"))?];
        let receipt = rig.at(START_US, &limits, 1).await?.receipt.take().unwrap();
        let at = START_US + passed;
        assert_eq!(rig.service.refund(later(receipt, at)).await?.units, [1], "{units} {passed}");
        assert!(rig.at(at, &limits, units).await?.is_allowed(), "{units} {passed}");
        assert!(!rig.at(at, &limits, 1).await?.is_allowed(), "{units} {passed}");
    }
    // Half of it is gone: the other half comes back, and the four after it stay.
    let limits = [Limit::bucket(10, MINUTE)?.named("behind")?];
    let receipt = rig.at(START_US, &limits, 1).await?.receipt.take().unwrap();
    assert!(rig.at(START_US, &limits, 4).await?.is_allowed());
    let at = START_US + 3 * SECOND;
    assert_eq!(rig.service.refund(later(receipt, at)).await?.units, [1]);
    let denied = rig.at(at, &limits, 7).await?.outcome;
    assert_eq!(denied, Outcome::Denied { retry_after: MINUTE / 10 });
    Ok(())
}

#[tokio::test]
async fn what_drained_since_an_earlier_refund_is_not_given_back() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::bucket(10, MINUTE)?];
    let first = rig.at(START_US, &limits, 5).await?.receipt.take().unwrap();
    let second = rig.at(START_US, &limits, 5).await?.receipt.take().unwrap();
    assert_eq!(rig.service.refund(first).await?.units, [5]);
    // The second five have drained; these ten are others'.
    assert!(rig.at(START_US + 36 * SECOND, &limits, 10).await?.is_allowed());
    let at = START_US + 37 * SECOND;
    assert!(rig.service.refund(later(second, at)).await?.is_void());
    assert!(!rig.at(at, &limits, 1).await?.is_allowed());
    // From the newest on, each is known.
    let at = START_US + 600 * SECOND;
    let first = rig.at(at, &limits, 5).await?.receipt.take().unwrap();
    let second = rig.at(at, &limits, 5).await?.receipt.take().unwrap();
    assert_eq!(rig.service.refund(second).await?.units, [5]);
    assert_eq!(rig.service.refund(first).await?.units, [5]);
    Ok(())
}

#[tokio::test]
async fn a_receipt_is_void_after_a_reset_a_changed_policy_and_a_step_of_the_clock() -> Result<()> {
    let rig = Rig::start().await?;
    let options = AcquireOptions::default().now(instant(START_US))?;
    for algorithm in ALL {
        let limit = Limit::new(algorithm, 10, MINUTE)?.named(format!("void-{algorithm:?}"))?;
        let limits = [limit.clone()];
        // A reset, and others take it all at the same moment.
        let receipt = rig.at(START_US, &limits, 6).await?.receipt.take().unwrap();
        rig.service.reset(&subject(), &limits, &options).await?;
        assert!(rig.at(START_US, &limits, 10).await?.is_allowed(), "{algorithm:?}");
        assert!(rig.service.refund(receipt).await?.is_void(), "{algorithm:?}: reset");
        assert!(!rig.at(START_US, &limits, 1).await?.is_allowed(), "{algorithm:?}");

        // A step back: all counts as taken then.
        rig.service.reset(&subject(), &limits, &options).await?;
        let receipt = rig.at(START_US + SECOND, &limits, 6).await?.receipt.take().unwrap();
        let back = START_US - SECOND; // in the window before
        assert!(rig.at(back, &limits, 4).await?.is_allowed(), "{algorithm:?}");
        assert!(rig.service.refund(receipt).await?.is_void(), "{algorithm:?}: step");
        assert!(!rig.at(START_US + SECOND, &limits, 4).await?.is_allowed(), "{algorithm:?}");

        // Another window, which an exact log takes without moving anything.
        rig.service.reset(&subject(), &limits, &options).await?;
        let receipt = rig.at(START_US, &limits, 6).await?.receipt.take().unwrap();
        let longer = [Limit::new(algorithm, 10, 2 * MINUTE)?.named(limit.policy())?];
        assert!(rig.at(START_US, &longer, 4).await?.is_allowed(), "{algorithm:?}");
        let void = rig.service.refund(receipt).await?.is_void();
        assert_eq!(void, algorithm != Algorithm::Log, "{algorithm:?}: window");
    }
    Ok(())
}

#[tokio::test]
async fn a_receipt_from_before_a_reset_is_void_for_as_long_as_it_would_have_counted() -> Result<()>
{
    let rig = Rig::start().await?;
    let options = AcquireOptions::default();
    for algorithm in [Algorithm::Bucket, Algorithm::Strict] {
        // By a reset.
        let limit = Limit::new(algorithm, 1_000, MINUTE)?.named(format!("reset-{algorithm:?}"))?;
        let limits = [limit.clone()];
        let all = options.clone().cost(1_000)?;
        assert!(rig.service.acquire(&subject(), &limits, &all).await?.is_allowed());
        rig.service.reset(&subject(), &limits, &options).await?;
        assert!(rig.one(&limit).await?.is_allowed());
        let key = crate::rig::key(std::str::from_utf8(limit.policy())?);
        let ttl: i64 = rig.query(redis::cmd("PTTL").arg(key)).await?;
        assert!(ttl > 60_000, "{algorithm:?} {ttl}");

        // By a policy that was shorter for a while.
        let name = format!("moved-{algorithm:?}");
        let long = Limit::new(algorithm, 100, MINUTE * 60)?.named(&name)?;
        let short = Limit::new(algorithm, 1_000, MINUTE / 1_200)?.named(&name)?;
        let all = options.clone().cost(100)?;
        assert!(rig.service.acquire(&subject(), &[long], &all).await?.is_allowed());
        assert!(rig.one(&short).await?.is_allowed());
        assert!(rig.one(&short).await?.is_allowed());
        let ttl: i64 = rig.query(redis::cmd("PTTL").arg(crate::rig::key(&name))).await?;
        assert!(ttl > 3_500_000, "{algorithm:?} {ttl}");
    }
    Ok(())
}

#[tokio::test]
async fn receipts_stay_good_however_long_ago_a_reset_was() -> Result<()> {
    let rig = Rig::start().await?;
    let limit = Limit::strict(1_000_000, std::time::Duration::from_millis(400))?;
    assert!(rig.one(&limit).await?.is_allowed());
    let limits = std::slice::from_ref(&limit);
    rig.service.reset(&subject(), limits, &AcquireOptions::default()).await?;
    let start = std::time::Instant::now();
    let mut last = (start.elapsed(), rig.one(&limit).await?);
    while start.elapsed().as_millis() < 2_000 {
        let next = (start.elapsed(), rig.one(&limit).await?);
        let (taken, mut decision) = std::mem::replace(&mut last, next);
        let refund = rig.service.refund(decision.receipt.take().unwrap()).await?;
        let age = start.elapsed() - taken;
        assert!(!refund.is_void() || age.as_millis() >= 400, "{taken:?} {age:?}");
    }
    Ok(())
}

#[tokio::test]
async fn of_several_limits_each_gives_back_what_it_can() -> Result<()> {
    let rig = Rig::start().await?;
    let limits =
        [Limit::strict(10, MINUTE)?, Limit::fixed(10, MINUTE * 60)?, Limit::bucket(10, MINUTE)?];
    let receipt = rig.at(START_US, &limits, 3).await?.receipt.take().unwrap();
    let refund = rig.service.refund(later(receipt, START_US + 90 * SECOND)).await?;
    assert_eq!(refund.units, [0, 3, 0]);
    Ok(())
}

#[tokio::test]
async fn denials_peeks_and_charges_have_no_receipt() -> Result<()> {
    let rig = Rig::start().await?;
    let limits = [Limit::strict(2, MINUTE)?];
    let options = AcquireOptions::default().cost(2)?.now(instant(START_US))?;
    let peeked = rig.service.peek(&subject(), &limits, &options).await?;
    assert!(peeked.is_allowed() && peeked.receipt.is_none());
    assert_eq!(peeked.results[0].remaining, 2, "nothing was taken");
    assert!(rig.at(START_US, &limits, 2).await?.receipt.is_some());
    let peeked = rig.service.peek(&subject(), &limits, &options).await?;
    assert!(matches!(peeked.outcome, Outcome::Denied { .. }) && peeked.receipt.is_none());
    assert!(rig.at(START_US, &limits, 1).await?.receipt.is_none());
    Ok(())
}

#[tokio::test]
async fn a_charge_takes_what_fits_and_never_more_than_the_limit() -> Result<()> {
    let rig = Rig::start().await?;
    for algorithm in ALL {
        let limits = [Limit::new(algorithm, 10, MINUTE)?, Limit::new(algorithm, 25, MINUTE * 60)?];
        let mut left = Vec::new();
        for _ in 0..4 {
            let options = AcquireOptions::default().cost(7)?.now(instant(START_US))?;
            let charged = rig.service.charge(&subject(), &limits, &options).await?;
            left.push(charged.results.iter().map(|result| result.remaining).collect::<Vec<_>>());
        }
        assert_eq!(left, [[3, 18], [0, 11], [0, 4], [0, 0]], "{algorithm:?}");
    }
    Ok(())
}

/// With refunds in between, a trailing window still never holds more than the limit.
#[tokio::test]
async fn refunds_at_random_never_let_in_more_than_the_limit() -> Result<()> {
    let rig = Rig::start().await?;
    for (seed, algorithm) in [(1, Algorithm::Strict), (2, Algorithm::Log)] {
        let limits = [Limit::new(algorithm, 20, MINUTE)?];
        let (mut random, mut now) = (Random(seed), START_US);
        let (mut receipts, mut kept) = (Vec::new(), Vec::new());
        for _ in 0..1_500 {
            now += random.below(2 * SECOND);
            let cost = 1 + random.below(3);
            let mut decision = rig.at(now, &limits, cost).await?;
            if let Some(receipt) = decision.receipt.take() {
                receipts.push((now, cost, receipt));
            }
            if random.below(3) == 0 && !receipts.is_empty() {
                let at = random.below(receipts.len() as u64) as usize;
                let (taken, cost, receipt) = receipts.swap_remove(at);
                let refund = rig.service.refund(later(receipt, now)).await?;
                match refund.units[0] {
                    0 => kept.push((taken, cost)),
                    units => assert_eq!(units, cost),
                }
            }
        }
        kept.extend(receipts.iter().map(|(taken, cost, _)| (*taken, *cost)));
        kept.sort_unstable();
        let mut record = Record::default();
        for (at, cost) in kept {
            record.admit(at, cost);
        }
        assert!(record.busiest(60 * SECOND) <= 20, "{algorithm:?}");
    }
    Ok(())
}

/// A burst that was lowered leaves a bucket fuller than it holds: for so long as that takes, and no longer.
#[tokio::test]
async fn a_refund_makes_nobody_wait_longer() -> Result<()> {
    let rig = Rig::start().await?;
    let large = [Limit::bucket(10, MINUTE)?.named("b")?.burst(100)?];
    let small = [Limit::bucket(10, MINUTE)?.named("b")?.burst(20)?];
    assert!(rig.at(START_US, &large, 99).await?.is_allowed());
    let receipt = rig.at(START_US, &large, 1).await?.receipt.take().unwrap();
    let then = START_US + 10 * SECOND;
    let denied = rig.at(then, &small, 1).await?;
    let Outcome::Denied { retry_after } = denied.outcome else { panic!("{denied:?}") };
    let due = then + u64::try_from(retry_after.as_micros())?;
    rig.service.refund(later(receipt, START_US + 60 * SECOND)).await?;
    assert!(rig.at(due, &small, 1).await?.is_allowed());
    Ok(())
}
