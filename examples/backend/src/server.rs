//! What the run costs the servers, by their own account: CPU time and commands, from INFO.

use std::collections::BTreeMap;

use raptor::Raptor;
use raptor::core::Key;
use raptor::core::config::Topology;

/// Slots that are asked for their owner on a cluster; more than enough to meet every primary.
const PROBES: u32 = 128;

/// The counters of every server that takes calls, by the id of its run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters(BTreeMap<String, Counter>);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counter {
    cpu_us: u64,
    /// Commands as they came in: scripts are one each.
    calls: u64,
    /// All commands, those in scripts too.
    commands: u64,
}

/// What the servers did between two readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spent {
    pub(crate) cpu_us: u64,
    pub(crate) calls: u64,
    pub(crate) commands: u64,
}

impl Counters {
    /// Asks every server; `None` where one does not tell (Upstash, a missing right).
    pub(crate) async fn read(raptor: &Raptor) -> Option<Self> {
        let cluster = matches!(raptor.client().config().topology(), Topology::Cluster { .. });
        let mut counters = BTreeMap::new();
        for probe in 0..if cluster { PROBES } else { 1 } {
            let mut info = raptor.client().command("INFO");
            for section in ["server", "cpu", "stats", "commandstats"] {
                info = info.arg(section);
            }
            // A section that no server knows, but a key: it leads to the owner of its slot.
            let info = if cluster { info.key(&Key::raw(format!("{probe}"))) } else { info };
            let (run, counter) = parse(&info.run::<String>().await.ok()?)?;
            counters.entry(run).or_insert(counter);
        }
        Some(Self(counters))
    }

    /// What was spent since `earlier`; `None` if a server has come, gone or restarted.
    pub(crate) fn since(&self, earlier: &Self) -> Option<Spent> {
        if !self.0.keys().eq(earlier.0.keys()) {
            return None;
        }
        let mut spent = Spent { cpu_us: 0, calls: 0, commands: 0 };
        for (now, then) in self.0.values().zip(earlier.0.values()) {
            spent.cpu_us += now.cpu_us.checked_sub(then.cpu_us)?;
            spent.calls += now.calls.checked_sub(then.calls)?;
            spent.commands += now.commands.checked_sub(then.commands)?;
        }
        Some(spent)
    }
}

/// The id of the server's run and its counters, out of INFO's answer.
fn parse(info: &str) -> Option<(String, Counter)> {
    let fields: BTreeMap<&str, &str> =
        info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let seconds = |name: &str| fields.get(name)?.parse::<f64>().ok();
    let cpu_s = seconds("used_cpu_user")? + seconds("used_cpu_sys")?;
    let calls = |command: &str| -> Option<u64> {
        let stats = fields.get(format!("cmdstat_{command}").as_str())?;
        stats.split(',').find_map(|field| field.strip_prefix("calls="))?.parse().ok()
    };
    let counter = Counter {
        cpu_us: (cpu_s * 1e6) as u64,
        calls: calls("evalsha").unwrap_or(0) + calls("eval").unwrap_or(0),
        commands: fields.get("total_commands_processed")?.parse().ok()?,
    };
    Some(((*fields.get("run_id")?).to_owned(), counter))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nrun_id:abc\r\n# CPU\r\nused_cpu_sys:1.500000\r\n\
        used_cpu_user:2.250000\r\n# Stats\r\ntotal_commands_processed:70\r\n\
        # Commandstats\r\ncmdstat_evalsha:calls=9,usec=1,usec_per_call=1.00\r\n\
        cmdstat_eval:calls=1,usec=1,usec_per_call=1.00\r\n";

    #[test]
    fn counters_are_read_and_subtracted() {
        let (run, counter) = parse(INFO).unwrap();
        assert_eq!(run, "abc");
        assert_eq!(counter, Counter { cpu_us: 3_750_000, calls: 10, commands: 70 });
        let early = Counters([(run.clone(), Counter { cpu_us: 1, ..counter })].into());
        let late = Counters([(run, counter)].into());
        assert_eq!(late.since(&early), Some(Spent { cpu_us: 3_749_999, calls: 0, commands: 0 }));
        assert_eq!(early.since(&late), None);
        assert_eq!(late.since(&Counters::default()), None);
    }

    #[test]
    fn what_is_missing_is_unknown() {
        assert_eq!(parse(""), None);
        assert_eq!(parse(&INFO.replace("used_cpu_sys", "x")), None);
    }
}
