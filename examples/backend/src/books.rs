//! The books: what the demo counted itself, against what the usage service reports.
//!
//! Both sides are [`Accounts`], so to check is to compare: each tenant's totals, and its sums by
//! user and by model; requests, tokens, and cost to the pico-dollar.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::AddAssign;

use crate::report::grouped;

/// Usage added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) requests: u128,
    pub(crate) context: u128,
    pub(crate) generated: u128,
    pub(crate) cost_pico: u128,
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.context += other.context;
        self.generated += other.generated;
        self.cost_pico += other.cost_pico;
    }
}

/// One tenant's usage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) total: Sums,
    pub(crate) by_user: BTreeMap<String, Sums>,
    pub(crate) by_model: BTreeMap<String, Sums>,
}

/// The usage of all tenants, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accounts(pub(crate) BTreeMap<String, Account>);

impl Accounts {
    /// Adds one request's usage to its tenant's account.
    pub(crate) fn book(&mut self, tenant: &str, user: &str, model: &str, used: Sums) {
        let account = entry(&mut self.0, tenant);
        account.total += used;
        *entry(&mut account.by_user, user) += used;
        *entry(&mut account.by_model, model) += used;
    }

    pub(crate) fn add(&mut self, other: Self) {
        for (tenant, theirs) in other.0 {
            let ours = entry(&mut self.0, &tenant);
            ours.total += theirs.total;
            for (user, sums) in theirs.by_user {
                *entry(&mut ours.by_user, &user) += sums;
            }
            for (model, sums) in theirs.by_model {
                *entry(&mut ours.by_model, &model) += sums;
            }
        }
    }

    pub(crate) fn total(&self) -> Sums {
        self.0.values().fold(Sums::default(), |mut sum, account| {
            sum += account.total;
            sum
        })
    }
}

/// The value of `name`, made if there is none; the name is copied only then.
pub(crate) fn entry<'a, T: Default>(map: &'a mut BTreeMap<String, T>, name: &str) -> &'a mut T {
    if !map.contains_key(name) {
        map.insert(name.to_owned(), T::default());
    }
    map.entry(name.to_owned()).or_default()
}

/// How requests ended, by the demo's own count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) arrived: u64,
    pub(crate) admitted: u64,
    pub(crate) denied: u64,
    pub(crate) failed: u64,
    /// Usage events that had been recorded before their first attempt.
    pub(crate) strange_duplicates: u64,
}

/// Everything that is wrong; nothing if the books balance.
///
/// `reported` is what the service says, once for each way to cut time: all its days, all its months.
pub(crate) fn check(ends: Ends, counted: &Accounts, reported: &[(&str, Accounts)]) -> Vec<String> {
    let mut wrong = Vec::new();
    if ends.arrived != ends.admitted + ends.denied {
        wrong.push(format!(
            "{} requests arrived, but {} were admitted and {} denied; {} failed",
            ends.arrived, ends.admitted, ends.denied, ends.failed
        ));
    }
    if u128::from(ends.admitted) != counted.total().requests {
        wrong.push(format!(
            "{} requests were admitted, but {} booked",
            ends.admitted,
            counted.total().requests
        ));
    }
    if ends.strange_duplicates > 0 {
        wrong.push(format!(
            "{} usage events were taken for repeats at their first attempt",
            ends.strange_duplicates
        ));
    }
    for (cut, reported) in reported {
        let tenants: BTreeSet<&String> = counted.0.keys().chain(reported.0.keys()).collect();
        let none = Account::default();
        for tenant in tenants {
            let own = counted.0.get(tenant).unwrap_or(&none);
            let theirs = reported.0.get(tenant).unwrap_or(&none);
            let place = format!("{tenant}, {cut}");
            compare(&mut wrong, &place, own.total, theirs.total);
            compare_all(&mut wrong, &place, &own.by_user, &theirs.by_user);
            compare_all(&mut wrong, &place, &own.by_model, &theirs.by_model);
        }
    }
    wrong
}

fn compare_all(
    wrong: &mut Vec<String>,
    place: &str,
    own: &BTreeMap<String, Sums>,
    theirs: &BTreeMap<String, Sums>,
) {
    let names: BTreeSet<&String> = own.keys().chain(theirs.keys()).collect();
    for name in names {
        let sums = |side: &BTreeMap<String, Sums>| side.get(name).copied().unwrap_or_default();
        compare(wrong, &format!("{place}, {name}"), sums(own), sums(theirs));
    }
}

fn compare(wrong: &mut Vec<String>, place: &str, own: Sums, theirs: Sums) {
    let lines = [
        ("requests", own.requests, theirs.requests),
        ("context tokens", own.context, theirs.context),
        ("generated tokens", own.generated, theirs.generated),
        ("pico-dollars", own.cost_pico, theirs.cost_pico),
    ];
    for (what, own, theirs) in lines {
        if own != theirs {
            let difference = Difference { own, theirs };
            wrong.push(format!("{place}: {what} are {difference}"));
        }
    }
}

struct Difference {
    own: u128,
    theirs: u128,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (less, more) = if self.theirs < self.own { ("less", "") } else { ("", "more") };
        write!(
            f,
            "{} in the report, {} by our count: {} {less}{more}",
            grouped(self.theirs),
            grouped(self.own),
            grouped(self.theirs.abs_diff(self.own))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: Ends =
        Ends { arrived: 5, admitted: 3, denied: 2, failed: 0, strange_duplicates: 0 };

    fn used(context: u128) -> Sums {
        Sums { requests: 1, context, generated: 7, cost_pico: context * 10 }
    }

    fn accounts() -> Accounts {
        let mut accounts = Accounts::default();
        accounts.book("acme", "ann", "small", used(100));
        accounts.book("acme", "bob", "large", used(200));
        accounts.book("corp", "eve", "small", used(300));
        accounts
    }

    fn flaws(ends: Ends, reported: Accounts) -> Vec<String> {
        check(ends, &accounts(), &[("days", accounts()), ("months", reported)])
    }

    #[test]
    fn equal_accounts_balance() {
        assert_eq!(flaws(ENDS, accounts()), Vec::<String>::new());
        assert_eq!(
            accounts().total(),
            Sums { requests: 3, context: 600, generated: 21, cost_pico: 6_000 }
        );
    }

    #[test]
    fn workers_books_add_up_to_one() {
        let mut whole = Accounts::default();
        whole.add(accounts());
        assert_eq!(whole, accounts());
        whole.add(accounts());
        assert_eq!(whole.0["acme"].by_user["ann"].context, 200);
    }

    #[test]
    fn a_single_token_too_many_or_too_few_is_found_wherever_it_is() {
        let changes: [fn(&mut Account); 5] = [
            |acme| acme.total.context += 1,
            |acme| acme.total.cost_pico -= 1,
            |acme| entry(&mut acme.by_user, "ann").generated -= 1,
            |acme| entry(&mut acme.by_model, "large").requests += 1,
            |acme| *entry(&mut acme.by_user, "mallory") += used(1),
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut reported = accounts();
            change(entry(&mut reported.0, "acme"));
            let flaws = flaws(ENDS, reported);
            assert!(flaws.len() == 1 || index == 4, "{flaws:?}");
            assert!(flaws.iter().all(|flaw| flaw.starts_with("acme, months")), "{flaws:?}");
        }
    }

    #[test]
    fn a_tenant_that_is_missing_or_not_ours_is_found() {
        let mut reported = accounts();
        reported.0.remove("corp");
        reported.book("ghost", "nobody", "small", used(1));
        let flaws = flaws(ENDS, reported);
        assert!(
            flaws.iter().any(|flaw| flaw.starts_with("corp, months: requests are 0")),
            "{flaws:?}"
        );
        assert!(
            flaws.iter().any(|flaw| flaw.starts_with("ghost, months: requests are 1")),
            "{flaws:?}"
        );
    }

    #[test]
    fn each_request_ends_once() {
        for ends in [
            Ends { arrived: 6, ..ENDS },
            Ends { denied: 1, failed: 1, ..ENDS },
            Ends { admitted: 4, denied: 1, ..ENDS },
            Ends { strange_duplicates: 1, ..ENDS },
        ] {
            assert_eq!(flaws(ends, accounts()).len(), 1, "{ends:?}");
        }
    }
}
