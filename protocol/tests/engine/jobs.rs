//! Which announcements a peer believes.

use bytes::Bytes;
use webmesh_protocol::io::{Action, Event, Notice, Submission};
use webmesh_protocol::manifest::{Authority, Manifest, Verify};
use webmesh_protocol::message::{Announce, Gossip, JobStatus, Request, Response};
use webmesh_protocol::sign::Keypair;
use webmesh_protocol::{JobId, PeerKey, limits};

use super::peer::{NOTHING, Peer, WORKER, announced, key, manifest, owner};

fn hear(peer: &mut Peer, announce: Announce) {
    peer.feed(Event::Gossip { from: announce.home, message: Gossip::Announce(announce) });
}

fn known(peer: &mut Peer) -> Vec<JobStatus> {
    match peer.ask(key(9), Request::Jobs, Bytes::new()) {
        Some(Response::Jobs(jobs)) => jobs,
        other => panic!("no list of jobs but {other:?}"),
    }
}

/// A job of [`owner`]'s with this nonce.
fn job(nonce: u64) -> Announce {
    announced(&Manifest { nonce, ..manifest() }, 0, &[key(1)])
}

/// What a stranger announces under the id of another's job.
fn squat(of: &Announce) -> Announce {
    let stranger = Keypair::from_secret([9; 32]);
    let mut epoch = of.epoch.open().expect("an epoch");
    epoch.job = of.job;
    let epoch = stranger.sign(&epoch);
    Announce { owner: stranger.public(), home: key(8), manifest: None, epoch, ..of.clone() }
}

#[test]
fn announcements_in_anothers_name_do_not_take_its_places() {
    let mut peer = Peer::new(3, WORKER);
    for nonce in 0..2 * limits::JOBS_OF_OWNER as u64 {
        let lie = squat(&job(nonce));
        hear(&mut peer, Announce { owner: owner().public(), ..lie });
    }
    hear(&mut peer, job(1_000));
    assert!(known(&mut peer).iter().any(|status| status.job == job(1_000).job));
}

#[test]
fn whoever_announces_a_job_first_its_manifest_says_whose_it_is() {
    let whose = |peer: &mut Peer, job: JobId| -> Vec<PeerKey> {
        known(peer).iter().filter(|status| status.job == job).map(|status| status.owner).collect()
    };
    let mut peer = Peer::new(3, WORKER);
    let real = job(1);
    hear(&mut peer, squat(&real));
    assert_eq!(whose(&mut peer, real.job), [squat(&real).owner]);
    hear(&mut peer, real.clone());
    assert_eq!(whose(&mut peer, real.job), [owner().public()]);
    hear(&mut peer, squat(&real));
    assert_eq!(whose(&mut peer, real.job), [owner().public()]);
    // A manifest that is too long for an announcement is asked for.
    let long = job(2);
    hear(&mut peer, squat(&long));
    peer.requests();
    hear(&mut peer, Announce { manifest: None, ..long.clone() });
    let asked =
        peer.requests().into_iter().find(|(_, to, r)| *to == long.home && matches!(r, Request::Manifest { .. }));
    let (id, _, _) = asked.expect("the manifest is asked for");
    peer.answer(id, Response::Manifest(long.manifest.clone().expect("a manifest")));
    assert_eq!(whose(&mut peer, long.job), [owner().public()]);
}

#[test]
fn a_peer_can_always_submit_whatever_others_have_announced() {
    let mut peer = Peer::new(0, NOTHING);
    for nonce in 0..limits::JOBS_OF_OWNER as u64 {
        hear(&mut peer, announced(&Manifest { nonce, home: key(7), ..manifest() }, 0, &[key(1)]));
    }
    peer.meet(key(4), WORKER);
    let announce = peer.submit(Manifest { nonce: 5_000, ..manifest() });
    assert!(known(&mut peer).iter().any(|status| status.job == announce.job));
}

#[test]
fn a_job_that_asks_for_what_this_version_cannot_do_is_refused() {
    let asked = [
        Manifest { verify: Verify::Quorum(3), ..manifest() },
        Manifest { authority: Authority::Stewards(vec![key(4)]), ..manifest() },
    ];
    for manifest in asked {
        let mut home = Peer::new(0, NOTHING);
        home.feed(Event::Submit(Box::new(Submission { manifest: manifest.clone(), key: owner() })));
        let refused = |a: &Action| matches!(a, Action::Notify(Notice::SubmitRefused { .. }));
        assert!(home.actions().iter().any(refused));
        // Nor does anybody else take part.
        let mut worker = Peer::new(3, WORKER);
        hear(&mut worker, announced(&manifest, 0, &[key(1)]));
        assert!(!worker.actions().iter().any(|a| matches!(a, Action::LoadBlob { .. })));
    }
}
