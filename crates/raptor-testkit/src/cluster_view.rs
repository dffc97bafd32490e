//! What one node believes about the cluster: the lines of CLUSTER NODES and the fields of INFO.

use std::ops::RangeInclusive;

use crate::{Error, Server};

/// One line of CLUSTER NODES.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeView {
    pub(crate) id: String,
    pub(crate) port: u16,
    pub(crate) flags: Vec<String>,
    pub(crate) primary: Option<String>,
    pub(crate) epoch: u64,
    pub(crate) linked: bool,
    pub(crate) slots: Vec<RangeInclusive<u16>>,
}

impl NodeView {
    pub(crate) fn is(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own == flag)
    }

    pub(crate) fn owns(&self, slot: u16) -> bool {
        self.slots.iter().any(|range| range.contains(&slot))
    }

    /// Neither suspected, failed, unknown nor in the middle of a handshake.
    pub(crate) fn is_settled(&self) -> bool {
        let unsettled = ["fail?", "fail", "handshake", "noaddr"];
        !unsettled.iter().any(|flag| self.is(flag)) && (self.linked || self.is("myself"))
    }
}

/// The whole table as `server` sees it.
pub(crate) async fn nodes_seen_by(server: &Server) -> Result<Vec<NodeView>, Error> {
    let text: String = server.query(redis::cmd("CLUSTER").arg("NODES")).await?;
    Ok(text.lines().filter_map(parse).collect())
}

/// One field of `INFO section` or `CLUSTER INFO`.
pub(crate) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_end)
}

/// Reads `id ip:port@bus[,hostname] flags primary ping pong epoch link slot…`.
fn parse(line: &str) -> Option<NodeView> {
    let mut words = line.split_whitespace();
    let id = words.next()?.to_owned();
    let address = words.next()?.split('@').next()?;
    let port = address.rsplit(':').next()?.parse().ok()?;
    let flags = words.next()?.split(',').map(str::to_owned).collect();
    let primary = words.next().filter(|id| *id != "-").map(str::to_owned);
    let epoch = words.nth(2)?.parse().ok()?;
    let linked = words.next()? == "connected";
    // A slot on the move has an extra word in brackets.
    let slots = words.filter(|word| !word.starts_with('[')).filter_map(range).collect();
    Some(NodeView { id, port, flags, primary, epoch, linked, slots })
}

fn range(word: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_slots_on_the_move_is_read() {
        let line = "07c3 127.0.0.1:30004@31004,host myself,master - 0 1426238317239 4 connected 0-99 105 [7->-e7d1]";
        let view = parse(line).expect("a valid line");
        assert_eq!((view.id.as_str(), view.port, view.epoch), ("07c3", 30004, 4));
        assert!(view.is("master") && view.is_settled() && view.primary.is_none());
        assert!(view.owns(0) && view.owns(105) && !view.owns(100));
        let dead =
            parse("e7d1 127.0.0.1:30003@31003 slave,fail 07c3 0 0 4 disconnected").expect("valid");
        assert!(!dead.is_settled());
        assert_eq!(dead.primary.as_deref(), Some("07c3"));
    }

    #[test]
    fn fields_of_info() {
        let info = "# Replication\r\nrole:slave\r\nmaster_link_status:up\r\n";
        assert_eq!(field(info, "master_link_status"), Some("up"));
        assert_eq!(field(info, "master_link"), None);
    }
}
