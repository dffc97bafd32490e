//! What decides while the server does not answer.

use std::num::NonZeroU32;

/// What becomes of a limit when the server gives no answer within the deadline of
/// [`RateLimitOptions`](crate::RateLimitOptions), refuses service, or the breaker is open.
///
/// An answer that it gave so says [`degraded`](crate::Decision::degraded). Errors that are not an
/// outage (a damaged value, a missing permission, a wrong argument) stay errors.
///
/// A call is decided so only when *every* limit of it has another one than [`Fail`](Self::Fail). One
/// that fails makes the whole call the error, after the client's own time, whatever the others say,
/// and nothing is taken of anybody's share: all or nothing holds during an outage too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outage {
    /// The call ends in the error, after the client's own time, even where its other limits could
    /// decide: the caller decides.
    #[default]
    Fail,
    /// The limit allows: for what must go on.
    Open,
    /// The limit denies: for what must not go unlimited (money, logins).
    Closed,
    /// The limit allows this process its share, `limit / nodes` rounded down and at least 1, counted
    /// in memory from the first call of each window. Of a bucket with a smaller burst it is
    /// `burst / nodes` at once, as many times a window as fit into `limit / nodes`.
    ///
    /// A cost above the share, up to what the limit has room for at once, goes on when the share is
    /// untouched: else it never could. What it takes too much is paid back by the windows that follow,
    /// and `retry_after` knows it.
    ///
    /// All nodes together then admit about the limit. They admit more across the edge of a window,
    /// where a share can pass twice; with fewer units than nodes; and with costs above a share, at once
    /// as much as one such cost a node, though over time no node more than its share. When a policy
    /// changes, what was taken counts under the new one, and locks out for one new window at most.
    /// What is taken so is not told to the server afterwards.
    ///
    /// A process counts 100,000 shares; who comes then is denied until one is free again.
    Local {
        /// How many processes share the limit.
        nodes: NonZeroU32,
    },
}

impl Outage {
    /// [`Local`](Self::Local) among `nodes` processes; 0 counts as 1.
    #[must_use]
    pub fn local(nodes: u32) -> Self {
        Self::Local { nodes: NonZeroU32::new(nodes).unwrap_or(NonZeroU32::MIN) }
    }
}
