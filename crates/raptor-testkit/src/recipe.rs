//! What a server is started with: the engine, its configuration file, and where it listens.

use std::fmt::Write as _;
use std::path::Path;

use crate::Engine;

/// What kind of server a binary is started as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A data server, of a cluster or not.
    Data,
    /// A sentinel, which rewrites its own configuration file.
    Sentinel,
}

/// Everything that decides how a server is started; ports are chosen later.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) engine: Engine,
    pub(crate) role: Role,
    pub(crate) tcp: bool,
    pub(crate) cluster: bool,
    pub(crate) persistent: bool,
    pub(crate) password: Option<String>,
    pub(crate) lines: Vec<String>,
}

impl Recipe {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            engine,
            role: Role::Data,
            tcp: true,
            cluster: false,
            persistent: false,
            password: None,
            lines: Vec::new(),
        }
    }

    /// How many ports the server needs: for clients, and for the cluster bus.
    pub(crate) fn ports_needed(&self) -> usize {
        usize::from(self.tcp) + usize::from(self.cluster)
    }

    /// The configuration file. Later lines overrule earlier ones, so the caller's own come last.
    pub(crate) fn config(&self, folder: &Path, socket: &Path, ports: &[u16]) -> String {
        let port = if self.tcp { ports.first().copied().unwrap_or_default() } else { 0 };
        let mut text = format!(
            "port {port}\nbind 127.0.0.1\nprotected-mode no\ndaemonize no\nlogfile \"\"\ndir {}\n\
             unixsocket {}\nunixsocketperm 700\n",
            quoted(&folder.to_string_lossy()),
            quoted(&socket.to_string_lossy()),
        );
        if self.role == Role::Data {
            text.push_str("save \"\"\nenable-debug-command local\n");
            text.push_str(if self.persistent { "appendonly yes\n" } else { "appendonly no\n" });
        }
        if let (true, Some(bus)) = (self.cluster, ports.get(1)) {
            let _ = write!(
                text,
                "cluster-enabled yes\ncluster-config-file nodes.conf\ncluster-port {bus}\n"
            );
        }
        if let Some(password) = &self.password {
            let password = quoted(password);
            let _ = write!(text, "requirepass {password}\nmasterauth {password}\n");
        }
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// A value in the configuration file's quotes.
pub(crate) fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_so_that_they_cannot_become_directives() {
        assert_eq!(quoted("plain"), "\"plain\"");
        assert_eq!(quoted("a\"b\\c"), r#""a\"b\\c""#);
        assert_eq!(quoted("a\nport 1"), r#""a\x0aport 1""#);
        assert_eq!(quoted("ü"), r#""\xc3\xbc""#);
    }
}
