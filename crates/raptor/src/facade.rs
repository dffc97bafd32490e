//! `Raptor`: one client, and the services over it.

use raptor_core::{RedisClient, RedisConfig, Result};

/// Hands out services that share one client. Cheap to clone.
///
/// Services are cheap too: take one where it is needed, or keep it. Calls of all that were handed
/// out, by whichever clone, ride together where the service batches. Each can as well be made by its
/// own constructor from any [`RedisClient`], for example to keep one service on a server of its own.
///
/// ```no_run
/// # async fn tour() -> raptor::core::Result<()> {
/// let raptor = raptor::Raptor::from_env().await?;
/// # #[cfg(feature = "ratelimit")]
/// let limits = raptor.rate_limits();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Raptor {
    client: RedisClient,
    #[cfg(feature = "ratelimit")]
    rate_limits: raptor_ratelimit::RateLimitService,
    /// The first one, whose batches the others share.
    #[cfg(feature = "session")]
    sessions: std::sync::Arc<std::sync::OnceLock<raptor_session::SessionService>>,
    /// As of sessions.
    #[cfg(feature = "ops")]
    usage: std::sync::Arc<std::sync::OnceLock<raptor_ops::usage::UsageService>>,
}

impl Raptor {
    /// Services over a client that is there already. Sends nothing.
    #[must_use]
    pub fn new(client: RedisClient) -> Self {
        Self {
            #[cfg(feature = "ratelimit")]
            rate_limits: raptor_ratelimit::RateLimitService::new(client.clone()),
            #[cfg(feature = "session")]
            sessions: std::sync::Arc::default(),
            #[cfg(feature = "ops")]
            usage: std::sync::Arc::default(),
            client,
        }
    }

    /// Connects, and waits until calls can be served.
    ///
    /// # Errors
    /// As [`RedisClient::connect`].
    pub async fn connect(config: RedisConfig) -> Result<Self> {
        Ok(Self::new(RedisClient::connect(config).await?))
    }

    /// Connects to the server that the environment names (`REDIS_URL`, `UPSTASH_REDIS_URL` …).
    ///
    /// # Errors
    /// As [`RedisConfig::from_env`] and [`RedisClient::connect`].
    pub async fn from_env() -> Result<Self> {
        Self::connect(RedisConfig::from_env()?).await
    }

    /// The client that the services share.
    #[must_use]
    pub fn client(&self) -> &RedisClient {
        &self.client
    }

    /// Sessions.
    ///
    /// # Errors
    /// [`Config`](raptor_core::ErrorKind::Config) when the options contradict each other.
    #[cfg(feature = "session")]
    pub fn sessions(
        &self,
        options: raptor_session::SessionOptions,
    ) -> Result<raptor_session::SessionService> {
        let sessions = raptor_session::SessionService::new(self.client.clone(), options.clone())?;
        self.sessions.get_or_init(|| sessions).with_options(options)
    }

    /// Rate limits.
    #[cfg(feature = "ratelimit")]
    #[must_use]
    pub fn rate_limits(&self) -> raptor_ratelimit::RateLimitService {
        self.rate_limits.clone()
    }

    /// Usage metering.
    ///
    /// # Errors
    /// [`Config`](raptor_core::ErrorKind::Config) when the options contradict each other.
    #[cfg(feature = "ops")]
    pub fn usage(
        &self,
        options: raptor_ops::usage::UsageOptions,
    ) -> Result<raptor_ops::usage::UsageService> {
        let usage = raptor_ops::usage::UsageService::new(self.client.clone(), options.clone())?;
        self.usage.get_or_init(|| usage).with_options(options)
    }
}
