//! The choice of a job's shufflers.

use std::collections::BTreeSet;

use crate::engine::core::Core;
use crate::epoch::Shuffler;
use crate::id::{Hash, PeerKey};
use crate::limits;
use crate::manifest::{Inputs, Manifest};
use crate::membership::Kind;

/// Input bytes for each shuffler, within the bounds of rule 2.
const BYTES_PER_SHUFFLER: u64 = 64 << 20;

/// Chooses shufflers for a job: known peers with the role, connected ones first, in the order of a hash, so that jobs
/// spread over them. The number follows from the size of the input and the number of replicas. Tabs, which come and go
/// and are reached over relays, are chosen only if there is no native shuffler. If there is none in the mesh, the
/// submitter is the shuffler. If `connected_only`, peers that would have to be dialled first are left out.
pub(super) fn choose_shufflers(
    core: &Core,
    manifest: &Manifest,
    lost: &BTreeSet<PeerKey>,
    connected_only: bool,
) -> Vec<Shuffler> {
    let bytes = match manifest.inputs {
        Inputs::Packs { bytes, .. } => bytes,
        Inputs::Numbers => 0,
    };
    let by_size = (bytes / BYTES_PER_SHUFFLER).clamp(1, limits::SHUFFLERS as u64) as usize;
    let count = by_size.max(usize::from(manifest.replicas)).min(limits::SHUFFLERS);
    let known = core.directory.with_role(|r| r.shuffler).map(|(&peer, m)| (peer, &m.advert, m.connected));
    let myself = core.advert.roles.shuffler.then_some((core.me, &core.advert, true));
    let mut candidates: Vec<(bool, bool, Hash, Shuffler)> = known
        .filter(|(peer, _, connected)| *peer != core.me && !lost.contains(peer) && (*connected || !connected_only))
        .chain(myself)
        .filter(|(peer, advert, _)| *peer == core.me || advert.minor >= manifest.minor)
        .filter(|(peer, advert, _)| *peer == core.me || advert.kind != Kind::Tab || !advert.addresses.is_empty())
        .map(|(peer, advert, connected)| {
            let draw = Hash::of_parts(
                "webmesh 1 choice of shufflers",
                &[&manifest.module.hash.0, &manifest.nonce.to_le_bytes(), &peer.0],
            );
            let shuffler = Shuffler { peer, weight: advert.weight.clamp(1, limits::WEIGHT) };
            (advert.kind == Kind::Tab, !connected, draw, shuffler)
        })
        .collect();
    candidates.sort_unstable_by_key(|&(tab, far, draw, _)| (tab, far, draw));
    let natives = candidates.iter().filter(|(tab, ..)| !tab).count();
    let count = if natives > 0 { count.min(natives) } else { count };
    let mut chosen: Vec<Shuffler> = candidates.into_iter().take(count).map(|(_, _, _, shuffler)| shuffler).collect();
    if chosen.is_empty() {
        chosen.push(Shuffler { peer: core.me, weight: 1 });
    }
    chosen.sort_unstable_by_key(|s| s.peer);
    chosen
}
