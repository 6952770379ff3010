//! Peers that do nothing for a while (stopped processes, machines that sleep, frozen tabs), and go on.

use std::time::Duration;

use bytes::Bytes;
use webmesh_protocol::JobId;
use webmesh_protocol::io::{Action, Event, NetAction, RequestId};
use webmesh_protocol::limits;
use webmesh_protocol::message::{Announce, Gossip, JobNews, Outcome, Request, Response};

use super::peer::{NOTHING, Peer, SHUFFLER, WORKER, announced, key, manifest, owner};

/// Longer than a job lives that nobody announces.
const LONG: Duration = Duration::from_secs(limits::ANNOUNCE_LIFETIME.as_secs() + 10);

/// A peer with a job of its own that peers 1 and 2 shuffle.
fn home() -> (Peer, Announce) {
    let mut home = Peer::new(0, NOTHING);
    home.meet(key(1), SHUFFLER);
    home.meet(key(2), SHUFFLER);
    let announce = home.submit(manifest());
    home.requests();
    (home, announce)
}

/// Peer 3, which has heard of a job of peer 0.
fn stranger(roles: webmesh_protocol::membership::Roles) -> (Peer, JobId) {
    let mut peer = Peer::new(3, roles);
    let announce = announced(&manifest(), 0, &[key(3), key(2)]);
    let job = announce.job;
    peer.feed(Event::Gossip { from: key(0), message: Gossip::Jobs(vec![JobNews::Lives(announce)]) });
    peer.requests();
    (peer, job)
}

fn knows(peer: &mut Peer, job: JobId) -> bool {
    matches!(peer.ask(key(9), Request::Manifest { job }, Bytes::new()), Some(Response::Manifest(_)))
}

/// The newest epoch that shufflers are told while they answer everything for some time.
fn epoch_after(home: &mut Peer, seconds: u64) -> Option<u32> {
    let mut newest = None;
    for _ in 0..seconds {
        home.wait(Duration::from_secs(1));
        for (id, _, request) in home.requests() {
            if let Request::NewEpoch(epoch) = request {
                newest = epoch.open().ok().map(|e| e.number);
                home.answer(id, Response::Ok);
            }
        }
    }
    newest
}

#[test]
fn a_home_that_slept_knows_its_job_and_its_owner_can_cancel_it() {
    let (mut home, job) = home();
    home.sleep(LONG);
    assert!(knows(&mut home, job.job), "whoever asks is told that the job is over");
    home.feed(Event::Cancel { job: job.job, key: Box::new(owner()) });
    assert_eq!(home.ended(), Some(Outcome::Cancelled));
}

#[test]
fn a_home_that_slept_announces_its_job_at_once() {
    let (mut home, job) = home();
    home.actions();
    home.sleep(LONG);
    let announced = home.actions().into_iter().any(|action| match action {
        Action::Net(NetAction::Publish { message: Gossip::Jobs(news), .. }) => {
            news.iter().any(|news| matches!(news, JobNews::Lives(announce) if announce.job == job.job))
        }
        _ => false,
    });
    assert!(announced);
}

#[test]
fn a_home_that_slept_does_not_give_up_shufflers_that_could_not_be_heard() {
    let (mut home, _) = home();
    assert_eq!(epoch_after(&mut home, 10), Some(0));
    home.sleep(LONG);
    assert_eq!(epoch_after(&mut home, 30), Some(0));
}

#[test]
fn shufflers_have_time_to_come_back_to_a_home_that_slept() {
    let (mut home, _) = home();
    home.sleep(LONG);
    (1..3).for_each(|peer| home.feed(Event::Disconnected { peer: key(peer) }));
    home.wait(Duration::from_secs(3));
    (1..3).for_each(|peer| home.meet(key(peer), SHUFFLER));
    assert_eq!(epoch_after(&mut home, 10), Some(0));
    // Awake, it is as strict as ever.
    home.feed(Event::Disconnected { peer: key(1) });
    assert_eq!(epoch_after(&mut home, 5), Some(1));
}

/// The requests for the manifest of a job.
fn asked(peer: &mut Peer, job: JobId) -> Vec<RequestId> {
    let asked = |(id, to, request)| (to == key(0) && request == Request::Manifest { job }).then_some(id);
    peer.requests().into_iter().filter_map(asked).collect()
}

#[test]
fn who_slept_asks_whether_a_job_lives_before_forgetting_it() {
    for roles in [WORKER, SHUFFLER] {
        let (mut peer, job) = stranger(roles);
        peer.sleep(LONG);
        assert!(knows(&mut peer, job), "it forgot a job whose home it could not hear");
        let [id] = asked(&mut peer, job)[..] else { panic!("the home is asked once, and at once") };
        let manifest = owner().sign(&manifest());
        peer.answer(id, Response::Manifest(manifest));
        peer.wait(limits::ANNOUNCE_LIFETIME - Duration::from_secs(1));
        assert!(knows(&mut peer, job));
    }
}

#[test]
fn who_slept_forgets_a_job_that_ended_meanwhile() {
    let (mut peer, job) = stranger(WORKER);
    peer.sleep(LONG);
    let [id] = asked(&mut peer, job)[..] else { panic!("the home is asked once") };
    peer.answer(id, Response::Missing);
    assert!(!knows(&mut peer, job));
    // Or its home is gone with it, and nobody answers.
    let (mut peer, job) = stranger(WORKER);
    peer.sleep(LONG);
    peer.wait(limits::ANNOUNCE_LIFETIME);
    assert!(!knows(&mut peer, job));
}
