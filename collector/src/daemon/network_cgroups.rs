//! Reads now and then what the programs about packets counted, and gives each packet to one container.

mod namespaces;
mod shares;

use std::io;
use std::sync::Arc;

use tracing::{info, warn};

use self::namespaces::Namespaces;
use self::shares::Shares;
use super::kind_reader;
use crate::bounds::Bound;
use crate::config::Config;
use crate::degradations::Degradations;
use crate::kernel::cgroup::DEFAULT_HIERARCHY;
use crate::kernel::probes::network_cgroup::{NetworkCgroups, Traffic};
use crate::sample::kinds::MetricKind;
use crate::sample::network_cgroup::{NetworkCgroup, Passed};
use crate::sampler::engine::Engine;
use crate::supervisor::Supervisor;
use crate::units::Bytes;

/// Loads the programs where the kind is switched on, and starts the thread that reads them. Without them the collector goes
/// on.
pub(super) fn start(
    config: &Config,
    engine: &Arc<Engine>,
    degradations: &Degradations,
    supervisor: &Supervisor,
) -> io::Result<()> {
    if !config.kinds.has(MetricKind::NetworkCgroup) {
        return Ok(());
    }
    let unified = engine.context().hierarchies().get(DEFAULT_HIERARCHY);
    let top = unified.map(|hierarchy| hierarchy.dir(hierarchy.top_name()));
    let networks = match NetworkCgroups::load(&config.roots, top.as_deref()) {
        Ok(networks) => networks,
        Err(without) => {
            degradations.set(&without.kind.facility(), &without);
            return Ok(());
        }
    };
    info!(map_bytes = networks.map_bytes(), "network by cgroup: the programs are attached to the root of cgroup2");
    let namespaces = Namespaces::find(&config.roots.proc, unified.cloned());
    let mut reader = NetworkCgroupReader { networks, namespaces, shares: Shares::default(), left_out: 0 };
    kind_reader::start("network-cgroup", engine, supervisor, move |engine| reader.read(engine))
}

struct NetworkCgroupReader {
    networks: NetworkCgroups,
    namespaces: Namespaces,
    shares: Shares,
    /// Packets that are reported as left out.
    left_out: u64,
}

impl NetworkCgroupReader {
    fn read(&mut self, engine: &Engine) -> io::Result<()> {
        let counted = self.networks.read()?;
        let store = engine.store();
        let (there, ended) = (store.all(), store.ended(engine.context().now()));
        let outcome = self.shares.share(counted, &there, &ended);
        for share in outcome.shares {
            let owner = share.owner;
            let before = owner.network_cgroup().unwrap_or_default();
            let namespace = self.namespaces.of(before.namespace, owner, share.cgroup, engine);
            owner.set_network_cgroup(NetworkCgroup { namespace, ..with(before, share.traffic) });
        }
        for cgroup in outcome.gone {
            self.networks.forget(cgroup);
        }
        let left_out = self.networks.left_out();
        if self.left_out == 0 && left_out > 0 {
            warn!("network by cgroup: there are more cgroups with sockets than are counted");
        }
        Bound::NetworkCgroups.exceeded_by(left_out.saturating_sub(self.left_out));
        self.left_out = left_out;
        Ok(())
    }
}

/// With what passed since.
fn with(before: NetworkCgroup, since: Traffic) -> NetworkCgroup {
    let add = |before: Passed, bytes: u64, packets: u64| Passed {
        bytes: Bytes(before.bytes.0.wrapping_add(bytes)),
        packets: before.packets.wrapping_add(packets),
    };
    NetworkCgroup {
        receive: add(before.receive, since.received.bytes, since.received.count),
        transmit: add(before.transmit, since.sent.bytes, since.sent.count),
        ..before
    }
}
