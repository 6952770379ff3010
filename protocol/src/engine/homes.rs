//! Discovery of the homes of jobs.
//!
//! Adverts are repeated rarely: a peer that came late or missed one may hear a job announced, and know no address of
//! its home. It asks its neighbours.

use super::core::Core;
use super::jobs::Jobs;
use super::pending::{DiscoveryRequest, Pending};
use crate::id::{JobId, PeerKey};
use crate::io::NetAction;
use crate::limits;
use crate::message::{PeerStatus, Request, Response};
use crate::time::Time;

/// Rate limits on questions to neighbours for homes.
#[derive(Debug, Default)]
pub(super) struct Homes {
    /// When a neighbour was last asked for any homes; `None` before the first time.
    asked_for_any: Option<Time>,
    /// When a neighbour was last asked for a certain home. Limited separately, as a peer that joins is often offered a
    /// job within a second.
    asked_for_one: Option<Time>,
    /// Counts questions, so that neighbours are asked in turn: the first may know no more than this peer.
    turn: usize,
}

impl Homes {
    /// A connection is established. A worker that knows of no job asks for homes, rather than wait for an announcement.
    pub(super) fn on_hello(&mut self, core: &mut Core, jobs: &Jobs, peer: PeerKey) {
        if core.advert.roles.worker && jobs.len() == 0 {
            self.ask(core, peer, None);
        }
    }

    /// A job was announced. The announcement has been checked: a job that is still unknown is ignored.
    pub(super) fn on_announced(&mut self, core: &mut Core, jobs: &Jobs, job: &JobId) {
        let roles = core.advert.roles;
        let Some(home) = jobs.home(job).filter(|_| roles.worker || roles.shuffler) else { return };
        if home == core.me || core.directory.get(&home).is_some() || core.directory.is_connected(&home) {
            return;
        }
        let neighbours = core.directory.connected();
        if !neighbours.is_empty() {
            self.turn += 1;
            self.ask(core, neighbours[self.turn % neighbours.len()], Some(home));
        }
    }

    fn ask(&mut self, core: &mut Core, peer: PeerKey, wanted: Option<PeerKey>) {
        let (asked, every) = match wanted {
            Some(_) => (&mut self.asked_for_one, limits::HOME_ASKED_EVERY),
            None => (&mut self.asked_for_any, limits::HOMES_ASKED_EVERY),
        };
        if asked.is_some_and(|at| core.now.since(at) < every) {
            return;
        }
        *asked = Some(core.now);
        core.request(peer, Request::Homes { wanted }, vec![], DiscoveryRequest::Homes(wanted));
    }

    /// The homes of jobs whose addresses this peer knows: the one that is wanted, or some, which differ between askers.
    pub(super) fn answer(core: &Core, jobs: &Jobs, asker: PeerKey, wanted: Option<PeerKey>) -> Response {
        let homes = jobs.homes();
        let others = homes.range(asker..).chain(homes.range(..asker)).copied();
        let others = others.filter(|home| *home != asker && wanted.is_none_or(|wanted| wanted == *home));
        let status = |peer: PeerKey| {
            let member = core.directory.get(&peer).filter(|member| !member.advert.addresses.is_empty())?;
            Some(PeerStatus { peer, advert: member.advert.clone(), connected: member.connected })
        };
        Response::Peers(others.filter_map(status).take(limits::HOMES).collect())
    }

    /// A neighbour named homes, or the one that is wanted. Only their addresses are used, and only if the home's own
    /// advert is not known.
    pub(super) fn on_answer(core: &mut Core, wanted: Option<PeerKey>, peers: Vec<PeerStatus>) {
        let asked_for = peers.into_iter().filter(|status| wanted.is_none_or(|wanted| wanted == status.peer));
        for PeerStatus { peer, advert, .. } in asked_for.take(if wanted.is_some() { 1 } else { limits::HOMES }) {
            let greeted =
                |pending: &Pending| matches!(pending, Pending::Discovery(DiscoveryRequest::Hello(to)) if *to == peer);
            if peer == core.me || core.directory.is_connected(&peer) || core.pending.values().any(greeted) {
                continue;
            }
            if core.directory.get(&peer).is_none() {
                core.act(NetAction::Learn { peer, addresses: advert.addresses });
            }
            core.request(peer, Request::Hello(core.advert.clone()), vec![], DiscoveryRequest::Hello(peer));
        }
    }
}
