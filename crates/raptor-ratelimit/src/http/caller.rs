//! Who calls, where, and what that costs: what an extractor says of a request.

use raptor_core::Result;

use crate::limit::Limit;
use crate::options::AcquireOptions;
use crate::subject::Subject;

/// Who makes a request, and under which limits it comes.
///
/// ```
/// use raptor_ratelimit::http::Caller;
///
/// let caller = Caller::new("user-7", "POST /chat")?.tier("pro").cost(3)?;
/// # Ok::<(), raptor_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Caller {
    pub(super) subject: Subject,
    pub(super) endpoint: String,
    pub(super) tier: Option<String>,
    pub(super) limits: Option<Vec<Limit>>,
    pub(super) options: AcquireOptions,
}

impl Caller {
    /// `user` at `endpoint`, under the policies that are configured for it in the default tier. Where
    /// none are, the request is not limited.
    ///
    /// # Errors
    /// As of [`Subject::new`].
    pub fn new(user: impl AsRef<[u8]>, endpoint: impl Into<String>) -> Result<Self> {
        let endpoint = endpoint.into();
        Ok(Self {
            subject: Subject::new(user, &endpoint)?,
            endpoint,
            tier: None,
            limits: None,
            options: AcquireOptions::default(),
        })
    }

    /// Under the policies of `tier`. One that the configuration does not have counts as the default tier,
    /// so that a tier which is sold before it is configured, or misspelt, is limited and still served.
    #[must_use]
    pub fn tier(mut self, tier: impl Into<String>) -> Self {
        self.tier = Some(tier.into());
        self
    }

    /// Under these limits, whatever is configured.
    #[must_use]
    pub fn limits(mut self, limits: impl Into<Vec<Limit>>) -> Self {
        self.limits = Some(limits.into());
        self
    }

    /// Takes `cost` units.
    ///
    /// # Errors
    /// As of [`AcquireOptions::cost`].
    pub fn cost(mut self, cost: u64) -> Result<Self> {
        self.options = self.options.cost(cost)?;
        Ok(self)
    }
}
