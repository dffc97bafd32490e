//! What every TCP connection is set to, so that the system itself notices a dead peer in time.

use std::time::Duration;

/// How long sent data may stay unacknowledged.
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
pub(super) const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// When a silent peer is asked for a sign of life, and how often again.
pub(super) fn keepalive() -> socket2::TcpKeepalive {
    socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5))
}
