//! What decides while the server does not answer.

use std::num::NonZeroU32;

/// What becomes of a limit when the server gives no answer within the deadline of
/// [`RateLimitOptions`](crate::RateLimitOptions), refuses service, or the breaker is open.
///
/// An answer that it gave so says [`degraded`](crate::Decision::degraded). Errors that are not an
/// outage (a damaged value, a missing permission, a wrong argument) stay errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outage {
    /// The call ends in the error, after the client's own time: the caller decides.
    #[default]
    Fail,
    /// The limit allows: for what must go on.
    Open,
    /// The limit denies: for what must not go unlimited (money, logins).
    Closed,
    /// The limit allows this process its share, `limit / nodes` rounded down and at least 1, counted
    /// in memory from the first call of each window. All nodes together then admit about the limit;
    /// across the edge of a window a share can pass twice. What is taken so is not told to the server
    /// afterwards.
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
