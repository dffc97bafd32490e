//! Pure: what `CLUSTER NODES` says, and who owns which slot.

use crate::config::Endpoint;
use crate::keys::SLOTS;

/// A primary and its slots, as one node of the cluster sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Primary {
    pub(crate) endpoint: Endpoint,
    /// Inclusive ranges; none while it waits for its first slot.
    pub(crate) ranges: Vec<(u16, u16)>,
}

/// The cluster as one of its nodes sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// The highest configuration epoch of a primary: newer views have higher ones.
    pub(crate) epoch: u64,
    pub(crate) primaries: Vec<Primary>,
}

impl View {
    /// How many slots have an owner.
    pub(crate) fn covered(&self) -> usize {
        let width = |&(from, to): &(u16, u16)| usize::from(to - from) + 1;
        self.primaries.iter().flat_map(|primary| &primary.ranges).map(width).sum()
    }

    /// Reads the reply of `CLUSTER NODES`.
    ///
    /// A node that does not know its own address leaves the host empty: then it is `asked`, the
    /// host that the question was sent to. With `hostnames`, announced names win over addresses
    /// (certificates bear names).
    pub(crate) fn parse(text: &str, asked: &str, hostnames: bool) -> Option<Self> {
        let mut view = Self { epoch: 0, primaries: Vec::new() };
        for line in text.lines().filter(|line| !line.is_empty()) {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [_, address, flags, _, _, _, epoch, _, slots @ ..] = fields.as_slice() else {
                return None;
            };
            let flag = |name| flags.split(',').any(|flag| flag == name);
            if !flag("master") || flag("handshake") || flag("noaddr") {
                continue;
            }
            let ranges = slots
                .iter()
                .filter(|range| !range.starts_with('['))
                .map(|range| parse_range(range))
                .collect::<Option<Vec<_>>>()?;
            view.epoch = view.epoch.max(epoch.parse().ok()?);
            let endpoint = parse_address(address, asked, hostnames)?;
            view.primaries.push(Primary { endpoint, ranges });
        }
        Some(view)
    }
}

fn parse_range(range: &str) -> Option<(u16, u16)> {
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (from <= to && to < SLOTS).then_some((from, to))
}

/// `ip:port@busport[,hostname[,…]]`
fn parse_address(address: &str, asked: &str, hostnames: bool) -> Option<Endpoint> {
    let mut parts = address.split(',');
    let address = parts.next()?.split('@').next()?;
    let name = parts.next().filter(|name| hostnames && !name.is_empty() && !name.contains('='));
    let endpoint = parse_host_port(address, asked)?;
    match (endpoint, name) {
        (Endpoint::Tcp { port, .. }, Some(name)) => {
            Some(Endpoint::Tcp { host: name.to_owned(), port })
        }
        (endpoint, _) => Some(endpoint),
    }
}

/// `host:port`, also with an IPv6 host without brackets; an empty host means `asked`.
pub(crate) fn parse_host_port(address: &str, asked: &str) -> Option<Endpoint> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() || host == "?" { asked } else { host };
    Some(Endpoint::Tcp { host: host.to_owned(), port: port.parse().ok()? })
}

/// A redirection: `MOVED 3999 127.0.0.1:6381` or `ASK 3999 127.0.0.1:6381`.
pub(crate) fn parse_redirection(error: &str, asked: &str) -> Option<(u16, Endpoint)> {
    let mut words = error.split(' ').skip(1);
    let slot = words.next()?.parse().ok().filter(|slot| *slot < SLOTS)?;
    Some((slot, parse_host_port(words.next()?, asked)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp { host: host.into(), port }
    }

    #[test]
    fn nodes_are_read_with_epochs_slots_and_migrations() {
        let text = "\
a1 127.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-5460 [93->-b2]
b2 127.0.0.1:7002@17002,node-b master - 0 1 7 connected 5461-10922 16383
c3 127.0.0.1:7003@17003 slave a1 0 1 1 connected
d4 :0@0 master,noaddr - 1 1 0 disconnected
e5 127.0.0.1:7005@17005 master,fail - 0 1 3 connected 10923
";
        let view = View::parse(text, "h", false).expect("parses");
        assert_eq!(view.epoch, 7);
        assert_eq!(view.covered(), 5461 + 5462 + 1 + 1);
        assert_eq!(view.primaries[1].endpoint, tcp("127.0.0.1", 7002));
        assert_eq!(view.primaries[1].ranges, [(5461, 10922), (16383, 16383)]);
        let named = View::parse(text, "h", true).expect("parses");
        assert_eq!(named.primaries[1].endpoint, tcp("node-b", 7002));
    }

    #[test]
    fn a_node_without_an_address_is_the_one_that_was_asked() {
        let view = View::parse("a :7001@17001 myself,master - 0 0 1 connected 0-1", "here", false);
        assert_eq!(view.expect("parses").primaries[0].endpoint, tcp("here", 7001));
    }

    #[test]
    fn nonsense_is_no_view() {
        for text in ["x", "a b c", "a 1.1.1.1:1@2 master - 0 0 x connected 0-1"] {
            assert_eq!(View::parse(text, "h", false), None, "{text}");
        }
        assert!(
            View::parse("a 1.1.1.1:1@2 master - 0 0 1 connected 7-99999", "h", false).is_none()
        );
    }

    #[test]
    fn redirections_are_read() {
        assert_eq!(parse_redirection("MOVED 3999 ::1:6381", ""), Some((3999, tcp("::1", 6381))));
        assert_eq!(parse_redirection("ASK 1 :6381", "me"), Some((1, tcp("me", 6381))));
        assert_eq!(parse_redirection("MOVED 16384 h:1", ""), None);
        assert_eq!(parse_redirection("MOVED", ""), None);
    }
}
