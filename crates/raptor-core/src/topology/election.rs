//! Pure: which master to follow, out of what sentinels claim and announce.
//!
//! A claim bears the configuration epoch, which grows with each failover, so the newest claim wins
//! and a master that was left comes back only by a later one. An announcement bears no epoch, and
//! may be about a switch long past (a sentinel that was frozen catches up): it only puts the
//! present master in doubt until the announcer has said what it claims now.

use std::collections::HashMap;

use crate::config::Endpoint;

/// Polls in which an announcer may stay silent before its announcement is forgotten.
const PATIENCE: u32 = 10;
/// Polls in a row in which a majority must agree, without dissent, on what their epochs forbid:
/// then the service was set up anew, and epochs began again.
const CONTRARY: u32 = 5;

/// What a sentinel says: who is master, since which epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) endpoint: Endpoint,
    pub(crate) epoch: u64,
}

/// What is to be done after a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Follow this one from now on; leave the one before it.
    Follow(Endpoint),
    /// The master there was is still it, and no longer in doubt.
    Trust(Endpoint),
    /// Nothing changes; while in doubt, nobody is trusted.
    Wait,
}

/// What is known of the master so far.
pub(crate) struct Election {
    sentinels: usize,
    current: Option<Claim>,
    /// Announcers that have not been heard since, and for how many polls.
    doubters: HashMap<usize, u32>,
    /// Masters that were left, and the epoch that they had.
    left: HashMap<Endpoint, u64>,
    contrary: u32,
}

impl Election {
    pub(crate) fn new(sentinels: usize) -> Self {
        Self {
            sentinels,
            current: None,
            doubters: HashMap::new(),
            left: HashMap::new(),
            contrary: 0,
        }
    }

    /// A sentinel announced that `old` is master no more; says whether that is our master, which is
    /// not to be trusted until the next [`Verdict`].
    pub(crate) fn announced(&mut self, sentinel: usize, old: &Endpoint) -> bool {
        let ours = self.is_current(old);
        if ours {
            self.doubters.insert(sentinel, 0);
        }
        ours
    }

    /// The outcome of a poll: what each sentinel claims, `None` for those without an answer.
    pub(crate) fn heard(&mut self, claims: &[Option<Claim>]) -> Verdict {
        let answered: Vec<&Claim> = claims.iter().flatten().collect();
        // Among equals the one that is a change: a sentinel that knows of a switch is ahead.
        let newest = answered
            .iter()
            .filter(|claim| self.left.get(&claim.endpoint).is_none_or(|at| claim.epoch > *at))
            .max_by_key(|claim| (claim.epoch, !self.is_current(&claim.endpoint)));
        let epoch = self.current.as_ref().map_or(0, |current| current.epoch);
        match newest {
            Some(newest) if newest.epoch >= epoch && !self.is_current(&newest.endpoint) => {
                return self.follow((*newest).clone());
            }
            Some(newest) if self.is_current(&newest.endpoint) => {
                if let Some(current) = &mut self.current {
                    current.epoch = epoch.max(newest.epoch);
                }
            }
            _ => {}
        }
        if let Some(anew) = self.set_up_anew(&answered) {
            self.left.clear();
            return self.follow(anew);
        }
        self.doubters.retain(|sentinel, silent| {
            *silent += 1;
            claims.get(*sentinel).is_some_and(Option::is_none) && *silent < PATIENCE
        });
        match &self.current {
            Some(current) if self.doubters.is_empty() => Verdict::Trust(current.endpoint.clone()),
            _ => Verdict::Wait,
        }
    }

    fn is_current(&self, endpoint: &Endpoint) -> bool {
        self.current.as_ref().is_some_and(|current| current.endpoint == *endpoint)
    }

    fn follow(&mut self, claim: Claim) -> Verdict {
        if let Some(old) = self.current.take() {
            self.left.insert(old.endpoint, old.epoch);
        }
        self.doubters.clear();
        self.contrary = 0;
        let endpoint = claim.endpoint.clone();
        self.current = Some(claim);
        Verdict::Follow(endpoint)
    }

    /// What a majority has claimed long enough, all alike, against what we follow.
    fn set_up_anew(&mut self, answered: &[&Claim]) -> Option<Claim> {
        let first = *answered.first()?;
        let agreed = answered.len() > self.sentinels / 2
            && answered.iter().all(|claim| claim.endpoint == first.endpoint)
            && !self.is_current(&first.endpoint);
        self.contrary = if agreed { self.contrary + 1 } else { 0 };
        (self.contrary >= CONTRARY).then(|| first.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str) -> Endpoint {
        Endpoint::Tcp { host: name.into(), port: 1 }
    }

    fn claims(of: &[(&str, u64)]) -> Vec<Option<Claim>> {
        let claim = |(name, epoch): &(&str, u64)| {
            (!name.is_empty()).then(|| Claim { endpoint: at(name), epoch: *epoch })
        };
        of.iter().map(claim).collect()
    }

    fn following_a() -> Election {
        let mut election = Election::new(3);
        let polled = claims(&[("a", 2), ("a", 2), ("a", 2)]);
        assert_eq!(election.heard(&polled), Verdict::Follow(at("a")));
        assert_eq!(election.heard(&polled), Verdict::Trust(at("a")));
        election
    }

    #[test]
    fn the_newest_claim_wins_and_the_old_master_comes_back_by_a_later_one_only() {
        let mut election = following_a();
        let polled = claims(&[("a", 2), ("b", 3), ("a", 2)]);
        assert_eq!(election.heard(&polled), Verdict::Follow(at("b")));
        for _ in 0..20 {
            assert_eq!(election.heard(&polled), Verdict::Trust(at("b")));
        }
        let polled = claims(&[("a", 4), ("b", 3), ("b", 3)]);
        assert_eq!(election.heard(&polled), Verdict::Follow(at("a")));
    }

    #[test]
    fn a_switch_that_is_announced_is_waited_for() {
        let mut election = following_a();
        assert!(election.announced(1, &at("a")));
        let silent = claims(&[("a", 2), ("", 0), ("a", 2)]);
        assert_eq!(election.heard(&silent), Verdict::Wait, "the others may not know yet");
        let polled = claims(&[("a", 2), ("b", 3), ("a", 2)]);
        assert_eq!(election.heard(&polled), Verdict::Follow(at("b")));
    }

    #[test]
    fn a_late_announcement_of_a_past_switch_is_seen_through() {
        let mut election = following_a();
        assert!(election.announced(2, &at("a")));
        let stale = claims(&[("a", 2), ("a", 2), ("b", 1)]);
        assert_eq!(election.heard(&stale), Verdict::Trust(at("a")));
        assert!(!election.announced(2, &at("b")), "not about our master");
        // An announcer that dies is not waited for without end.
        assert!(election.announced(2, &at("a")));
        let silent = claims(&[("a", 2), ("a", 2), ("", 0)]);
        let waits = (0..100).take_while(|_| election.heard(&silent) == Verdict::Wait).count();
        assert!(waits > 0 && waits < 20, "{waits}");
    }

    #[test]
    fn a_service_that_was_set_up_anew_is_followed_when_all_agree() {
        let mut election = following_a();
        let dissent = claims(&[("b", 0), ("b", 0), ("a", 2)]);
        for _ in 0..20 {
            assert_eq!(election.heard(&dissent), Verdict::Trust(at("a")));
        }
        let minority = claims(&[("b", 0), ("", 0), ("", 0)]);
        for _ in 0..20 {
            assert_ne!(election.heard(&minority), Verdict::Follow(at("b")));
        }
        let agreed = claims(&[("b", 0), ("b", 0), ("", 0)]);
        let polls = (0..100).take_while(|_| election.heard(&agreed) != Verdict::Follow(at("b")));
        assert_eq!(polls.count() as u32, CONTRARY - 1);
    }

    #[test]
    fn without_answers_nothing_changes() {
        let mut election = following_a();
        assert_eq!(election.heard(&claims(&[("", 0), ("", 0), ("", 0)])), Verdict::Trust(at("a")));
        assert_eq!(Election::new(3).heard(&claims(&[("", 0)])), Verdict::Wait);
    }
}
