//! What the usage service says: its reports of all tenants over all periods of the run, as
//! [`Accounts`] to be held against the demo's own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use raptor::ops::usage::{Dimension, Line, MAX_PAGE, Page, Period, PeriodRule, UsageTotals};
use time::OffsetDateTime;

use crate::backend::Backend;
use crate::books::{Account, Accounts, Sums, entry};
use crate::replay::spread;

/// How the service cuts time by default; each cut must hold everything.
pub(crate) const CUTS: [(&str, PeriodRule); 2] =
    [("days", PeriodRule::DAY), ("months", PeriodRule::MONTH)];

/// The periods of `rule` that hold these hours, counted from 1970.
pub(crate) fn periods(rule: PeriodRule, hours: &BTreeSet<i64>) -> Result<Vec<Period>> {
    let mut periods: Vec<Period> = Vec::new();
    for hour in hours {
        let period = rule.period_at(OffsetDateTime::from_unix_timestamp(hour * 3_600)?)?;
        if periods.last() != Some(&period) {
            periods.push(period);
        }
    }
    Ok(periods)
}

/// All that the service knows of these tenants in these periods.
pub(crate) async fn reported(
    backend: &Arc<Backend>,
    tenants: Vec<String>,
    periods: Vec<Period>,
    width: usize,
) -> Result<Accounts> {
    let (backend, periods) = (Arc::clone(backend), Arc::new(periods));
    let accounts = spread(tenants, width, move |tenant| {
        let (backend, periods) = (Arc::clone(&backend), Arc::clone(&periods));
        async move {
            let account = account(&backend, &tenant, &periods).await?;
            Ok((tenant, account))
        }
    });
    let accounts = accounts.await?.into_iter();
    Ok(Accounts(accounts.filter(|(_, account)| *account != Account::default()).collect()))
}

async fn account(backend: &Backend, tenant: &str, periods: &[Period]) -> Result<Account> {
    let mut account = Account::default();
    for period in periods {
        let report = backend.insist(|| backend.usage.report(tenant, period), |_| {}).await?;
        account.total += sums(report.totals);
        add_lines(&mut account.by_model, &report.by_model.lines);
        // A report brings the first users along; a tenant may have more.
        let Page { mut lines, mut next } = report.by_user;
        loop {
            add_lines(&mut account.by_user, &lines);
            if next.is_none() {
                break;
            }
            let users = Dimension::User;
            let page = || backend.usage.breakdown(tenant, period, users, next.as_ref(), MAX_PAGE);
            let page = backend.insist(page, |_| {}).await?;
            (lines, next) = (page.lines, page.next);
        }
    }
    Ok(account)
}

fn add_lines(sums_of: &mut BTreeMap<String, Sums>, lines: &[Line]) {
    for line in lines {
        let name = line.name.as_deref().unwrap_or("(nobody)");
        *entry(sums_of, name) += sums(line.usage);
    }
}

fn sums(totals: UsageTotals) -> Sums {
    Sums {
        requests: totals.counts.requests.into(),
        context: totals.counts.input.into(),
        generated: totals.counts.output.into(),
        cost_pico: totals.cost.pico(),
    }
}
