//! TCP ports for servers: free, outside the ephemeral range, and held for us across processes.
//!
//! Asking the kernel for "any port" hands out ephemeral ones. While a server on such a port is down (killed, about to
//! be restarted), an outgoing connection may take its port, and a client that dials the dead port from the same
//! range can even connect to itself. So ports come from below that range. Test binaries run in parallel, each
//! with many servers: a lock on a file named after the port keeps two of them from choosing the same one, also while a
//! server is down between kill and restart.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use crate::Error;

/// Below the ephemeral ranges of Linux (32768 up) and macOS (49152 up).
const FIRST: u16 = 11_000;
const COUNT: u16 = 21_000;

/// A port that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct PortLease {
    port: u16,
    held: Option<(File, PathBuf)>,
}

impl PortLease {
    /// Takes some free port of 127.0.0.1.
    pub(crate) fn take() -> Result<Self, Error> {
        Ok(Self::take_bound()?.0)
    }

    /// Takes some free port and listens on it.
    pub(crate) fn take_bound() -> Result<(Self, TcpListener), Error> {
        let start = RandomState::new().hash_one(std::process::id());
        for step in 0..u64::from(COUNT) {
            // 7919 is a prime that does not divide COUNT, so that the steps visit every port.
            let offset = (start % u64::from(COUNT) + step * 7919) % u64::from(COUNT);
            let port = FIRST + u16::try_from(offset).unwrap_or_default();
            let Some(held) = lock(port) else { continue };
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                return Ok((Self { port, held }, listener));
            }
        }
        Err(Error::Io {
            doing: format!("finding a free TCP port from {FIRST} up on 127.0.0.1"),
            source: std::io::ErrorKind::AddrInUse.into(),
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for PortLease {
    fn drop(&mut self) {
        // Removed while still locked; `lock` notices if it got hold of a removed file.
        if let Some((_file, path)) = &self.held {
            let _ = fs::remove_file(path);
        }
    }
}

/// `None`: someone else has it. `Some(None)`: it cannot be locked here (another user's folder), try it all the same.
fn lock(port: u16) -> Option<Option<(File, PathBuf)>> {
    let folder = std::env::temp_dir().join("raptor-testkit-ports");
    if fs::create_dir(&folder).is_ok() {
        let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o777));
    }
    let path = folder.join(port.to_string());
    let Ok(file) = File::options().create(true).append(true).open(&path) else { return Some(None) };
    file.try_lock().ok()?;
    let still_there = fs::metadata(&path).is_ok_and(|now| {
        file.metadata().is_ok_and(|ours| (now.dev(), now.ino()) == (ours.dev(), ours.ino()))
    });
    still_there.then_some(Some((file, path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_differ_and_are_below_the_ephemeral_range() {
        let leases: Vec<_> = (0..50).map(|_| PortLease::take().expect("a port")).collect();
        let mut ports: Vec<_> = leases.iter().map(PortLease::port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 50);
        assert!(ports.iter().all(|port| (FIRST..FIRST + COUNT).contains(port)));
    }

    #[test]
    fn a_leased_port_is_refused_to_others_until_dropped() {
        let lease = PortLease::take().expect("a port");
        let (port, path) = (lease.port(), lease.held.as_ref().expect("locked").1.clone());
        assert!(lock(port).is_none());
        drop(lease);
        assert!(!path.exists());
    }
}
