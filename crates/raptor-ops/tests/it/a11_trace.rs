//! Acceptance 11, with a generated trace: totals equal the trace's exactly, by model = by agent = by user, while
//! every event is recorded twice, concurrently, and the scripts are flushed in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use raptor_ops::usage::{
    Cost, Dimension, Line, PeriodRule, Recorded, UsageEvent, UsageOptions, UsageService,
    UsageTotals,
};
use raptor_testkit::redis;
use tokio::task::JoinSet;

use crate::support::{Fixture, NOW, id_at, period, prices};

const WORKSPACES: [&str; 2] = ["acme", "umbrella"];
const RULES: [PeriodRule; 5] =
    [PeriodRule::MINUTE, PeriodRule::HOUR, PeriodRule::DAY, PeriodRule::MONTH, PeriodRule::YEAR];

struct Request {
    event: UsageEvent,
    at: time::OffsetDateTime,
    model: &'static str,
    user: Option<String>,
    tokens: [u64; 3],
}

/// A fixed pseudo-random trace over the 30 hours before [`NOW`].
fn trace(len: u128) -> Vec<Request> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut below = move |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    };
    (0..len)
        .map(|n| {
            let at = NOW - time::Duration::milliseconds(below(30 * 3_600_000) as i64);
            let model = ["mini", "maxi", "free"][below(3) as usize];
            let user = (below(5) > 0).then(|| format!("user {}", below(40)));
            let tokens = [below(4_000), below(900), below(2_000)];
            let mut event = UsageEvent::new(WORKSPACES[below(2) as usize], model)
                .with_id(id_at(at, n))
                .agent(format!("a{}", below(4)))
                .input(tokens[0])
                .output(tokens[1])
                .cached(tokens[2]);
            if let Some(user) = &user {
                event = event.user(user);
            }
            Request { event, at, model, user, tokens }
        })
        .collect()
}

fn add(sum: &mut UsageTotals, request: &Request) {
    let price = prices().price_at(request.model, request.at).expect("a price");
    sum.counts.input += request.tokens[0];
    sum.counts.output += request.tokens[1];
    sum.counts.cached += request.tokens[2];
    sum.counts.requests += 1;
    sum.cost = sum.cost.checked_add(price.cost_of(&request.event.counts())).expect("fits");
}

fn sum(lines: &[Line]) -> UsageTotals {
    lines.iter().fold(UsageTotals::default(), |mut sum, line| {
        let (counts, more) = (&mut sum.counts, line.usage.counts);
        counts.input += more.input;
        counts.output += more.output;
        counts.cached += more.cached;
        counts.requests += more.requests;
        sum.cost = sum.cost.checked_add(line.usage.cost).expect("fits");
        sum
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_recorded_twice_by_64_recorders_is_charged_once_exactly() {
    let f = Fixture::start().await;
    let late = std::time::Duration::from_secs(48 * 3_600);
    let usage = UsageService::new(
        f.client.clone(),
        UsageOptions::new(prices()).periods(RULES).accept_late(late),
    )
    .expect("a service")
    .pinned_at(NOW);
    let requests = Arc::new(trace(2_000));

    let mut recorders = JoinSet::new();
    for recorder in 0..64 {
        let (usage, requests) = (usage.clone(), Arc::clone(&requests));
        recorders.spawn(async move {
            let mut charged = 0;
            // Twice the whole trace, each pass dealt out to other recorders.
            for turn in (0..2 * requests.len()).filter(|turn| turn % 64 == recorder) {
                let request = &requests[(turn * 7) % requests.len()];
                if matches!(
                    usage.record(&request.event).await.expect("an answer"),
                    Recorded::Charged(_)
                ) {
                    charged += 1;
                }
            }
            charged
        });
    }
    for _ in 0..20 {
        f.run_everywhere(redis::cmd("SCRIPT").arg("FLUSH")).await;
    }
    assert_eq!(recorders.join_all().await.into_iter().sum::<usize>(), requests.len());

    for workspace in WORKSPACES {
        for rule in RULES {
            let mut expected: BTreeMap<String, UsageTotals> = BTreeMap::new();
            let mut users: BTreeMap<(String, Option<&str>), UsageTotals> = BTreeMap::new();
            let of_workspace = requests.iter().filter(|r| r.event.workspace() == workspace);
            for request in of_workspace {
                let id = period(rule, request.at).id();
                add(expected.entry(id.clone()).or_default(), request);
                add(users.entry((id, request.user.as_deref())).or_default(), request);
            }
            // Minutes are many; the last few say as much.
            for (id, totals) in expected.iter().rev().take(40) {
                let at = requests
                    .iter()
                    .map(|request| request.at)
                    .find(|&at| period(rule, at).id() == *id)
                    .expect("a request");
                let report = usage.report(workspace, &period(rule, at)).await.expect("a report");
                assert_eq!(report.totals, *totals, "{workspace} {id}");
                for (dimension, page) in [
                    (Dimension::Model, &report.by_model),
                    (Dimension::Agent, &report.by_agent),
                    (Dimension::User, &report.by_user),
                ] {
                    assert_eq!(page.next, None);
                    assert_eq!(sum(&page.lines), *totals, "{workspace} {id} {dimension:?}");
                }
                for line in &report.by_user.lines {
                    assert_eq!(
                        line.usage,
                        users[&(id.clone(), line.name.as_deref())],
                        "{workspace} {id}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_period_without_events_is_zero() {
    let f = Fixture::start().await;
    let report = f.report("acme", PeriodRule::DAY).await;
    assert_eq!(report.totals.cost, Cost::ZERO);
    assert!(report.by_user.lines.is_empty() && report.by_user.next.is_none());
}
