//! Finding the way to the homes of jobs.
//!
//! Adverts are gossip, repeated rarely: whoever comes late, or was deaf when one passed, hears a job announced and knows
//! no way to its home. A neighbour that has one is asked.

use super::core::Core;
use super::jobs::Jobs;
use super::pending::{DiscoveryRequest, Pending};
use crate::id::{JobId, PeerKey};
use crate::io::NetAction;
use crate::limits;
use crate::message::{PeerStatus, Request, Response};
use crate::time::Time;

/// Ways to homes, asked for and learnt.
#[derive(Debug, Default)]
pub(super) struct Homes {
    /// When a neighbour was last asked for whatever homes it knows.
    asked_for_any: Option<Time>,
    /// And for a certain one. Neither waits for the other, as whoever joins is often offered a job within a second.
    asked_for_one: Option<Time>,
    /// Neighbours are asked in turn: the first may know no more than this peer.
    turn: usize,
}

impl Homes {
    /// A connection stands. A worker that knows of no job asks what there is, rather than wait to hear it.
    pub(super) fn on_hello(&mut self, core: &mut Core, jobs: &Jobs, peer: PeerKey) {
        if core.advert.roles.worker && jobs.len() == 0 {
            self.ask(core, peer, None);
        }
    }

    /// A job was heard of. What was heard is checked: one that is not known now is nobody's.
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

    /// The homes of jobs that can be reached, as far as is known here: the one that is wanted, or some, each asker others.
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

    /// A neighbour told of homes, or of the one that is wanted. Where they are is noted, unless they said so themselves;
    /// what else is said of them, only they can say.
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
