//! What the tasks of a stage read of shuffles: which partitions are sealed, by which peer, and with which root.

use std::collections::BTreeMap;
use std::time::Duration;

use super::StageWork;
use crate::engine::core::Core;
use crate::id::{Hash, PeerKey};
use crate::message::Seals;
use crate::part::{PartitionId, StageId, TaskId};
use crate::split::Place;
use crate::time::Time;

/// How long the owner of a sealed partition, if it is a worker, goes first in reducing its buckets. Of several sources,
/// the first one's owner counts.
const OWNER_FIRST: Duration = Duration::from_millis(150);

/// A shuffle that the tasks of a stage read. A task reads the same place of each.
#[derive(Debug)]
pub(super) struct Port {
    /// The stage that writes it.
    pub(super) from: StageId,
    /// Its sealed partitions.
    seals: BTreeMap<PartitionId, Seal>,
}

#[derive(Clone, Copy, Debug)]
struct Seal {
    root: Hash,
    owner: PeerKey,
    /// When this peer may begin the tasks that read it.
    open: Time,
}

/// What a task reads at one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Read {
    /// The stage that wrote it.
    pub(in crate::engine) from: StageId,
    pub(in crate::engine) place: Place,
    /// The root of the partition; `owner` is the peer that sealed it.
    pub(in crate::engine) root: Hash,
    pub(in crate::engine) owner: PeerKey,
}

impl Port {
    pub(super) fn new(from: StageId) -> Self {
        Self { from, seals: BTreeMap::new() }
    }
}

impl StageWork {
    /// What a task reads at each port; `None` before all of it is sealed, and for a task that reads documents.
    pub(in crate::engine) fn reads(&self, task: TaskId) -> Option<Vec<Read>> {
        let place = self.split?.0.place(task)?;
        let read = |port: &Port| {
            let &Seal { root, owner, .. } = port.seals.get(&place.partition)?;
            Some(Read { from: port.from, place, root, owner })
        };
        self.ports.iter().map(read).collect()
    }

    /// When this peer may begin a task; `None` before all of its input is sealed.
    pub(super) fn opens(&self, task: TaskId) -> Option<Time> {
        let partition = self.split?.0.place(task)?.partition;
        let mut seals = self.ports.iter().map(|port| port.seals.get(&partition));
        seals.try_fold(Time(0), |latest, seal| Some(latest.max(seal?.open)))
    }

    /// The owner of what a task reads at the first port; `None` before it is sealed.
    pub(super) fn first_owner(&self, task: TaskId) -> Option<PeerKey> {
        let partition = self.split?.0.place(task)?.partition;
        Some(self.ports.first()?.seals.get(&partition)?.owner)
    }

    /// Whether no task can run yet.
    pub(super) fn is_closed(&self) -> bool {
        self.ports.iter().any(|port| port.seals.is_empty())
    }

    /// Handles an owner's message about its sealed partitions.
    pub(in crate::engine) fn on_seals(&mut self, core: &Core, from: PeerKey, seals: &Seals) {
        let Some(port) = self.ports.iter().position(|port| port.from == seals.stage) else { return };
        self.set_split(core, seals.width, false);
        for &(partition, root) in &seals.seals {
            self.on_seal(core, port, partition, root, from);
        }
    }

    /// Notes that `owner` sealed a partition of what is read at a port.
    pub(super) fn on_seal(&mut self, core: &Core, port: usize, partition: PartitionId, root: Hash, owner: PeerKey) {
        let Some(seals) = self.ports.get_mut(port).map(|port| &mut port.seals) else { return };
        if seals.get(&partition).is_some_and(|known| (known.root, known.owner) == (root, owner)) {
            return;
        }
        let works = core.directory.get(&owner).is_none_or(|member| member.advert.roles.worker);
        let open = if port == 0 && works && owner != core.me { core.now + OWNER_FIRST } else { core.now };
        seals.insert(partition, Seal { root, owner, open });
        let backoff = if owner == core.me { Duration::ZERO } else { self.contention_backoff(core) };
        if !self.entering {
            self.next_claim_at = self.next_claim_at.min(open + backoff);
        }
    }

    /// Forgets all seals of the stage `from`, whose output has been revoked. An authority whose log lost the division
    /// into tasks may divide it differently.
    pub(in crate::engine) fn unseal(&mut self, from: StageId) {
        let Some(port) = self.ports.iter_mut().find(|port| port.from == from) else { return };
        port.seals.clear();
        if let Some((_, is_certain)) = &mut self.split {
            *is_certain = self.manifest.fixed_split_of(from).is_some();
        }
    }

    /// Follows a new set of shufflers: partitions with a new owner are sealed again. `owner_of` gives the owner of a
    /// partition of a stage's output.
    pub(in crate::engine) fn new_epoch(
        &mut self,
        now: Time,
        owner_of: impl Fn(StageId, PartitionId) -> Option<PeerKey>,
    ) {
        for Port { from, seals } in &mut self.ports {
            seals.retain(|&partition, seal| owner_of(*from, partition) == Some(seal.owner));
        }
        self.next_claim_at = now;
    }
}
