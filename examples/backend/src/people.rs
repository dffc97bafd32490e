//! Who makes a request: tenants and their users, few of them busy and most of them quiet.
//!
//! Drawn from the request's number alone, so that every run has the same users make the same
//! requests. The *k*-th tenant, and the *k*-th user of a tenant, is *k* times as quiet as the
//! first (Zipf's law).

use crate::generate::mix;

/// The tenants and users of a run.
#[derive(Debug)]
pub(crate) struct People {
    tenants: Zipf,
    users: Zipf,
}

/// One user, by number: all users of the first tenant, then those of the second …
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Person(pub(crate) u32);

impl People {
    pub(crate) fn new(tenants: u32, users_per_tenant: u32) -> Self {
        Self { tenants: Zipf::new(tenants), users: Zipf::new(users_per_tenant) }
    }

    /// Who makes the request of this number.
    pub(crate) fn of_request(&self, number: u64) -> Person {
        let random = mix(number);
        Person(
            self.tenants.pick(mix(random ^ 1)) * self.users.len()
                + self.users.pick(mix(random ^ 2)),
        )
    }

    pub(crate) fn everybody(&self) -> impl Iterator<Item = Person> + use<> {
        (0..self.tenants.len() * self.users.len()).map(Person)
    }

    pub(crate) fn tenants(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.tenants.len()).map(tenant_name)
    }

    pub(crate) fn tenant(&self, person: Person) -> String {
        tenant_name(person.0 / self.users.len())
    }

    /// Unlike that of any user of another tenant.
    pub(crate) fn user(&self, person: Person) -> String {
        format!("user-{:02}@{}", person.0 % self.users.len() + 1, self.tenant(person))
    }
}

fn tenant_name(number: u32) -> String {
    format!("tenant-{:02}", number + 1)
}

/// Numbers from 0, each *k*-th as likely as 1 / *k*.
#[derive(Debug)]
struct Zipf {
    /// The weights added up, in integers: alike on every machine.
    sums: Vec<u64>,
}

impl Zipf {
    fn new(len: u32) -> Self {
        let weights = (1..=u64::from(len)).map(|rank| 1_000_000_000 / rank);
        let sums = weights.scan(0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Self { sums: sums.collect() }
    }

    fn len(&self) -> u32 {
        self.sums.len() as u32
    }

    fn pick(&self, random: u64) -> u32 {
        let total = self.sums.last().copied().unwrap_or_default();
        let at = ((u128::from(random) * u128::from(total)) >> 64) as u64;
        self.sums.partition_point(|sum| *sum <= at) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_the_busiest_and_everybody_is_there() {
        let people = People::new(10, 20);
        let mut requests = vec![0_u32; 200];
        for number in 0..100_000 {
            requests[people.of_request(number).0 as usize] += 1;
        }
        // 1 in H(10) · H(20) = 2.929 · 3.598 requests is the first's.
        assert!((9_000..10_000).contains(&requests[0]), "{}", requests[0]);
        assert!(requests.iter().all(|&count| (1..=requests[0]).contains(&count)));
        assert_eq!(people.everybody().count(), 200);
    }

    #[test]
    fn names_are_unlike() {
        let people = People::new(3, 2);
        assert_eq!(people.user(Person(3)), "user-02@tenant-02");
        assert_eq!(people.tenants().collect::<Vec<_>>(), ["tenant-01", "tenant-02", "tenant-03"]);
        assert_eq!(People::new(1, 1).of_request(u64::MAX), Person(0));
    }
}
