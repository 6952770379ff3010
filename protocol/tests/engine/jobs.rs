//! Which announcements and ends a peer accepts.

use std::time::Duration;

use bytes::Bytes;
use webmesh_protocol::io::{
    Action, BlobAction, Event, NetAction, Notice, RequestError, RequestId, StoreAction, Submission,
};
use webmesh_protocol::manifest::{Authority, Manifest, Sink, Source, Stage, Verify};
use webmesh_protocol::membership::Advert;
use webmesh_protocol::message::{Announce, End, Gossip, JobNews, JobState, JobStatus, Outcome, Request, Response};
use webmesh_protocol::sign::Keypair;
use webmesh_protocol::{Hash, JobId, PeerKey, StageId, codec, limits, version};

use super::peer::{
    NOTHING, PARTITIONS, Peer, SHUFFLER, TASKS, WORKER, advert, announced, announced_by, job_of, key, manifest, owner,
};

fn gossip(peer: &mut Peer, announce: Announce) {
    peer.feed(Event::Gossip { from: announce.home, message: Gossip::Jobs(vec![JobNews::Lives(announce)]) });
}

fn state(peer: &mut Peer, job: JobId) -> Option<JobState> {
    known(peer).into_iter().find(|status| status.job == job).map(|status| status.state)
}

fn known(peer: &mut Peer) -> Vec<JobStatus> {
    match peer.ask(key(9), Request::Jobs, Bytes::new()) {
        Some(Response::Jobs(jobs)) => jobs,
        other => panic!("not a list of jobs: {other:?}"),
    }
}

/// A job of [`owner`] with this nonce.
fn job(nonce: u64) -> Announce {
    announced(&Manifest { nonce, ..manifest() }, 0, &[key(1)])
}

/// A stranger's announcement under the id of another owner's job.
fn squat(of: &Announce) -> Announce {
    let stranger = Keypair::from_secret([9; 32]);
    let mut epoch = of.epoch.open().expect("an epoch");
    epoch.job = of.job;
    let epoch = stranger.sign(&epoch);
    Announce { owner: stranger.public(), home: key(8), manifest: None, epoch, ..of.clone() }
}

#[test]
fn announcements_in_the_name_of_another_owner_do_not_use_up_its_share() {
    let mut peer = Peer::new(3, WORKER);
    for nonce in 0..2 * limits::JOBS_OF_OWNER as u64 {
        let lie = squat(&job(nonce));
        gossip(&mut peer, Announce { owner: owner().public(), ..lie });
    }
    gossip(&mut peer, job(1_000));
    assert!(known(&mut peer).iter().any(|status| status.job == job(1_000).job));
}

#[test]
fn a_peer_with_many_keys_leaves_room_for_the_jobs_of_others() {
    let mut peer = Peer::new(3, WORKER);
    // Eight owners at one home announce as many jobs as the table has places, and go on.
    let flood = |peer: &mut Peer, round: u64| {
        for owner in 20..28 {
            for n in 0..limits::JOBS_OF_OWNER as u64 {
                gossip(peer, job_of(9, owner, 1_000 * round + n));
            }
        }
    };
    flood(&mut peer, 1);
    assert_eq!(peer.engine.load().jobs, limits::JOBS);
    let honest = job_of(8, 30, 1);
    gossip(&mut peer, honest.clone());
    flood(&mut peer, 2);
    assert_eq!(state(&mut peer, honest.job), Some(JobState::Running));
    assert_eq!(peer.engine.load().jobs, limits::JOBS);
}

#[test]
fn a_submitter_is_told_that_peers_have_no_room_for_its_job() {
    let mut peer = Peer::new(3, WORKER);
    // As many homes as the table has places: none has more than its share.
    for n in 0..limits::JOBS as u64 {
        let secret = Hash::of(&n.to_le_bytes()).0;
        let keypair = Keypair::from_secret(secret);
        let manifest = Manifest { nonce: n, home: keypair.public(), owner: keypair.public(), ..manifest() };
        gossip(&mut peer, announced_by(&keypair, &manifest, 0, &[key(1)]));
    }
    let offer = |announce: Announce| Request::Offer { announce, slot: 0, of: 1 };
    let refused = job_of(8, 30, 1);
    let answer = peer.ask(refused.home, offer(refused.clone()), Bytes::new());
    assert!(matches!(answer, Some(Response::Busy)), "{answer:?}");
}

#[test]
fn the_manifest_decides_the_owner_of_a_job_whoever_announced_it_first() {
    let whose = |peer: &mut Peer, job: JobId| -> Vec<PeerKey> {
        known(peer).iter().filter(|status| status.job == job).map(|status| status.owner).collect()
    };
    let mut peer = Peer::new(3, WORKER);
    let real = job(1);
    gossip(&mut peer, squat(&real));
    assert_eq!(whose(&mut peer, real.job), [], "listed without its manifest");
    gossip(&mut peer, real.clone());
    assert_eq!(whose(&mut peer, real.job), [owner().public()]);
    gossip(&mut peer, squat(&real));
    assert_eq!(whose(&mut peer, real.job), [owner().public()]);
    // A manifest that is too long for an announcement is requested.
    let long = job(2);
    gossip(&mut peer, squat(&long));
    peer.requests();
    gossip(&mut peer, Announce { manifest: None, ..long.clone() });
    let asked =
        peer.requests().into_iter().find(|(_, to, r)| *to == long.home && matches!(r, Request::Manifest { .. }));
    let (id, _, _) = asked.expect("the manifest is asked for");
    peer.answer(id, Response::Manifest(long.manifest.clone().expect("a manifest")));
    assert_eq!(whose(&mut peer, long.job), [owner().public()]);
}

#[test]
fn a_goodbye_of_the_submitter_ends_its_jobs() {
    let mut peer = Peer::new(3, WORKER);
    let (real, other) = (job(1), announced(&Manifest { nonce: 2, home: key(7), ..manifest() }, 0, &[key(1)]));
    gossip(&mut peer, real.clone());
    gossip(&mut peer, other.clone());
    peer.ask(real.home, Request::Goodbye, Bytes::new());
    assert_eq!(state(&mut peer, real.job), Some(JobState::Left));
    assert_eq!(state(&mut peer, other.job), Some(JobState::Running), "the job of another submitter ended");
    // A late announcement does not reopen the job.
    gossip(&mut peer, real.clone());
    assert_eq!(state(&mut peer, real.job), Some(JobState::Left));
}

#[test]
fn an_end_that_arrives_after_the_submitters_goodbye_is_accepted() {
    let mut peer = Peer::new(3, WORKER);
    let real = job(1);
    gossip(&mut peer, real.clone());
    peer.ask(real.home, Request::Goodbye, Bytes::new());
    let end = End { job: real.job, outcome: Outcome::Cancelled };
    peer.feed(Event::Gossip {
        from: key(7),
        message: Gossip::Jobs(vec![JobNews::Ended(Keypair::from_secret([9; 32]).sign(&end))]),
    });
    assert_eq!(state(&mut peer, real.job), Some(JobState::Left), "another key ended the job");
    peer.feed(Event::Gossip { from: key(7), message: Gossip::Jobs(vec![JobNews::Ended(owner().sign(&end))]) });
    assert_eq!(state(&mut peer, real.job), Some(JobState::Ended(Outcome::Cancelled)));
    // Of a job that is done, all tasks are, however old its last announcement is.
    let done = job(2);
    gossip(&mut peer, done.clone());
    peer.ask(done.home, Request::Goodbye, Bytes::new());
    let end = owner().sign(&End { job: done.job, outcome: Outcome::Done });
    peer.feed(Event::Gossip { from: key(7), message: Gossip::Jobs(vec![JobNews::Ended(end)]) });
    let status = known(&mut peer).into_iter().find(|status| status.job == done.job).expect("it is listed");
    assert!(status.stages.iter().all(|(done, tasks)| done == tasks), "{:?}", status.stages);
}

#[test]
fn a_stranger_that_announces_and_ends_another_owners_job_changes_nothing() {
    let stranger = Keypair::from_secret([9; 32]);
    let mut peer = Peer::new(3, WORKER);
    let real = job(1);
    gossip(&mut peer, squat(&real));
    assert_eq!(state(&mut peer, real.job), None, "a job is listed whose manifest nobody has seen");
    let end = stranger.sign(&End { job: real.job, outcome: Outcome::Done });
    peer.feed(Event::Gossip { from: key(8), message: Gossip::Jobs(vec![JobNews::Ended(end)]) });
    assert_eq!(state(&mut peer, real.job), None, "it is listed as done");
    gossip(&mut peer, real.clone());
    assert_eq!(state(&mut peer, real.job), Some(JobState::Running));
}

/// The ends that a peer has published since the last call.
fn published_ends(peer: &mut Peer) -> Vec<End> {
    let news = peer.actions().into_iter().filter_map(|action| match action {
        Action::Net(NetAction::Publish { message: Gossip::Jobs(news), .. }) => Some(news),
        _ => None,
    });
    let ended = news.flatten().filter_map(|news| match news {
        JobNews::Ended(end) => Some(end.open().expect("a signed end")),
        JobNews::Lives(_) => None,
    });
    ended.collect()
}

#[test]
fn an_end_from_outside_the_mesh_is_published_once_and_only_with_the_owners_signature() {
    let mut peer = Peer::new(3, WORKER);
    let announce = job(1);
    gossip(&mut peer, announce.clone());
    peer.actions();
    let outcome = Outcome::Failed("its tab was closed".to_owned());
    let end = End { job: announce.job, outcome: outcome.clone() };
    let stranger = Keypair::from_secret([9; 32]);
    peer.feed(Event::EndBrought(Box::new(stranger.sign(&end))));
    assert_eq!(published_ends(&mut peer), []);
    assert_eq!(state(&mut peer, announce.job), Some(JobState::Running), "a stranger ended the job");
    for _ in 0..3 {
        peer.feed(Event::EndBrought(Box::new(owner().sign(&end))));
    }
    peer.wait(Duration::from_secs(5));
    assert_eq!(published_ends(&mut peer), [end]);
    let other = owner().sign(&End { job: announce.job, outcome: Outcome::Cancelled });
    peer.feed(Event::Gossip { from: key(7), message: Gossip::Jobs(vec![JobNews::Ended(other)]) });
    assert_eq!(state(&mut peer, announce.job), Some(JobState::Ended(outcome)), "a second end changed the first");
    // It is passed on, too, if the submitter's goodbye was faster.
    let left = job(3);
    gossip(&mut peer, left.clone());
    peer.ask(left.home, Request::Goodbye, Bytes::new());
    let end = End { job: left.job, outcome: Outcome::Failed("its tab was closed".to_owned()) };
    peer.feed(Event::EndBrought(Box::new(owner().sign(&end))));
    peer.wait(Duration::from_secs(5));
    assert_eq!(published_ends(&mut peer), [end]);
    // An end of an unknown job is not published.
    let unknown = End { job: job(2).job, outcome: Outcome::Cancelled };
    peer.feed(Event::EndBrought(Box::new(owner().sign(&unknown))));
    peer.wait(Duration::from_secs(5));
    assert_eq!(published_ends(&mut peer), []);
}

#[test]
fn a_goodbye_does_not_end_a_job_of_another_home() {
    let mut peer = Peer::new(3, WORKER);
    let real = job(1);
    let lie = squat(&real);
    gossip(&mut peer, lie.clone());
    peer.ask(lie.home, Request::Goodbye, Bytes::new());
    gossip(&mut peer, real.clone());
    let found = known(&mut peer).into_iter().find(|status| status.job == real.job).expect("the job is known");
    assert_eq!((found.owner, found.state), (owner().public(), JobState::Running));
}

#[test]
fn a_worker_declines_a_job_that_needs_a_later_version() {
    let mut peer = Peer::new(3, WORKER);
    gossip(&mut peer, announced(&Manifest { minor: version::MINOR + 1, ..manifest() }, 0, &[key(1)]));
    let declined = peer.requests().into_iter().find_map(|(_, to, request)| match request {
        Request::Decline { minor, .. } => Some((to, minor)),
        _ => None,
    });
    assert_eq!(declined, Some((manifest().home, Some(version::MINOR))));
}

#[test]
fn a_peer_can_submit_however_many_jobs_others_have_announced() {
    let mut peer = Peer::new(0, NOTHING);
    for nonce in 0..limits::JOBS_OF_OWNER as u64 {
        gossip(&mut peer, announced(&Manifest { nonce, home: key(7), ..manifest() }, 0, &[key(1)]));
    }
    peer.meet(key(4), WORKER);
    let announce = peer.submit(Manifest { nonce: 5_000, ..manifest() });
    assert!(known(&mut peer).iter().any(|status| status.job == announce.job));
}

#[test]
fn lists_of_peers_and_jobs_with_long_texts_fit_into_a_response() {
    let mut home = Peer::new(0, NOTHING);
    let long = Advert { addresses: vec!["a".repeat(limits::ADDRESS_BYTES); limits::ADDRESSES], ..advert(SHUFFLER) };
    for i in 0..1_000u32 {
        let from = PeerKey(Hash::of(&i.to_le_bytes()).0);
        home.feed(Event::Gossip { from, message: Gossip::Advert(long.clone()) });
    }
    home.meet(key(4), WORKER);
    for nonce in 0..300 {
        let announce = home.submit(Manifest { nonce, name: "n".repeat(limits::NAME_BYTES), ..manifest() });
        let why = "w".repeat(limits::TEXT_BYTES);
        let end = owner().sign(&End { job: announce.job, outcome: Outcome::Failed(why) });
        home.feed(Event::Gossip { from: key(0), message: Gossip::Jobs(vec![JobNews::Ended(end)]) });
    }
    for request in [Request::Peers, Request::Jobs] {
        let answer = home.ask(key(9), request, Bytes::new()).expect("an answer");
        let encoded = codec::encode(&answer);
        assert!(encoded.len() > limits::HEAD_BYTES / 2, "{} bytes: it leaves out more than it must", encoded.len());
        codec::decode::<Response>(&encoded).expect("a valid response");
        let Response::Peers(peers) = answer else { continue };
        assert!(peers.iter().any(|p| p.peer == key(4)), "a connected peer is left out");
    }
}

#[test]
fn a_flood_of_adverts_expires_and_does_not_displace_others() {
    let mut peer = Peer::new(1, SHUFFLER);
    for i in 0..limits::ADVERTS as u32 {
        let from = PeerKey(Hash::of(&i.to_le_bytes()).0);
        peer.feed(Event::Gossip { from, message: Gossip::Advert(advert(SHUFFLER)) });
    }
    peer.actions();
    peer.wait(limits::ADVERT_INTERVAL_MOST * (limits::ADVERT_LIFETIMES + 1));
    let own = |a: &&Action| matches!(a, Action::Net(NetAction::Publish { message: Gossip::Advert(_), .. }));
    assert!(peer.actions().iter().filter(own).count() >= limits::ADVERT_LIFETIMES as usize);
    assert_eq!(peer.engine.directory().iter().count(), 0);
}

#[test]
fn a_job_that_needs_an_unsupported_feature_is_refused() {
    let asked = [
        Manifest { verify: Verify::Quorum(3), ..manifest() },
        Manifest { authority: Authority::Stewards(vec![key(4)]), ..manifest() },
    ];
    for manifest in asked {
        let mut home = Peer::new(0, NOTHING);
        home.feed(Event::Submit(Box::new(Submission { manifest: manifest.clone(), key: owner(), kept: false })));
        let refused = |a: &Action| matches!(a, Action::Notify(Notice::SubmitRefused { .. }));
        assert!(home.actions().iter().any(refused));
        // Nor does any other peer take part.
        let mut worker = Peer::new(3, WORKER);
        gossip(&mut worker, announced(&manifest, 0, &[key(1)]));
        assert!(
            !worker.actions().iter().any(|a| matches!(a, Action::Store(StoreAction::Blobs(BlobAction::Load { .. }))))
        );
    }
}

#[test]
fn a_job_cancelled_at_another_peer_ends_at_its_home_although_gossip_is_lost() {
    let mut peer = Peer::new(3, WORKER);
    let job = job(1);
    gossip(&mut peer, job.clone());
    peer.feed(Event::Cancel { job: job.job, key: Box::new(owner()) });
    let told = |peer: &mut Peer| -> Vec<RequestId> {
        let requests = peer.requests().into_iter();
        let ended = |(id, to, r)| (to == job.home && matches!(r, Request::Ended(_))).then_some(id);
        requests.filter_map(ended).collect()
    };
    let [first] = told(&mut peer)[..] else { panic!("the home is told once") };
    peer.feed(Event::Response { id: first, outcome: Err(RequestError::TimedOut) });
    peer.wait(Duration::from_secs(2));
    let [second] = told(&mut peer)[..] else { panic!("it is told once more") };
    peer.answer(second, Response::Ok);
    peer.wait(Duration::from_secs(20));
    assert_eq!(told(&mut peer), []);
}

#[test]
fn a_done_job_has_all_tasks_done_however_old_its_last_announcement_is() {
    let mut peer = Peer::new(3, WORKER);
    let (job, other) = (job(1), job(2));
    for (announce, outcome) in [(&job, Outcome::Done), (&other, Outcome::Cancelled)] {
        gossip(&mut peer, announce.clone());
        let end = owner().sign(&End { job: announce.job, outcome });
        peer.feed(Event::Gossip { from: key(0), message: Gossip::Jobs(vec![JobNews::Ended(end)]) });
    }
    let stages = |of: &Announce, all: &[JobStatus]| all.iter().find(|s| s.job == of.job).map(|s| s.stages.clone());
    let all = known(&mut peer);
    assert_eq!(stages(&job, &all), Some(vec![(TASKS, TASKS), (u32::from(PARTITIONS), u32::from(PARTITIONS))]));
    assert_eq!(stages(&other, &all), Some(vec![(0, TASKS), (0, u32::from(PARTITIONS))]));
}

#[test]
fn many_jobs_share_announcements_and_do_not_expire() {
    let announced = |jobs: u64| -> usize {
        let mut home = Peer::new(0, NOTHING);
        home.meet(key(4), WORKER);
        for nonce in 0..jobs {
            home.submit(Manifest { nonce, ..manifest() });
        }
        home.actions();
        home.wait(Duration::from_secs(60));
        assert_eq!(known(&mut home).len(), jobs as usize);
        let own = |a: &&Action| matches!(a, Action::Net(NetAction::Publish { message: Gossip::Jobs(_), .. }));
        home.actions().iter().filter(own).count()
    };
    let (one, many) = (announced(1), announced(limits::JOBS_OF_OWNER as u64));
    assert!(many <= one + 3, "{one} messages of one job, {many} of {}", limits::JOBS_OF_OWNER);
}

#[test]
fn a_job_that_the_guest_interface_does_not_support_is_refused_with_an_alternative() {
    let shuffling = manifest().stages[0].sink;
    let reduce = Stage { sink: shuffling, ..manifest().stages[1].clone() };
    let last = Stage { source: Source::Shuffle { stage: StageId(1) }, ..manifest().stages[1].clone() };
    let chain = Manifest { stages: vec![manifest().stages[0].clone(), reduce, last], ..manifest() };
    let map = Stage { sink: Sink::Collect, ..manifest().stages[0].clone() };
    let map_only = Manifest { stages: vec![map], ..manifest() };
    let join = Stage { further: vec![Source::Shuffle { stage: StageId(1) }], ..manifest().stages[1].clone() };
    let map = manifest().stages[0].clone();
    let joining = Manifest { stages: vec![map.clone(), map, join], ..manifest() };
    let refused = [
        (chain, "submit what follows as a job of its own"),
        (map_only, "let a reduce give it"),
        (joining, "let one map write all that it reads"),
    ];
    for (manifest, expected) in refused {
        let mut home = Peer::new(0, NOTHING);
        home.meet(key(4), WORKER);
        home.feed(Event::Submit(Box::new(Submission { manifest, key: owner(), kept: false })));
        let refused = home.actions().into_iter().find_map(|action| match action {
            Action::Notify(Notice::SubmitRefused { why, .. }) => Some(why),
            _ => None,
        });
        let why = refused.expect("it is refused");
        assert!(why.contains(expected), "{why}");
    }
}

#[test]
fn a_job_without_announcements_is_shown_as_silent() {
    let mut peer = Peer::new(3, NOTHING);
    gossip(&mut peer, job(1));
    peer.wait(limits::ANNOUNCE_INTERVAL * 3);
    assert_eq!(known(&mut peer)[0].silent, None, "silent after a single lost announcement");
    peer.wait(limits::ANNOUNCE_INTERVAL * 2);
    assert_eq!(known(&mut peer)[0].silent, Some(10));
    gossip(&mut peer, job(1));
    assert_eq!(known(&mut peer)[0].silent, None);
    // At home it is never silent.
    let mut home = Peer::new(0, NOTHING);
    home.meet(key(1), SHUFFLER);
    home.submit(manifest());
    home.wait(limits::ANNOUNCE_INTERVAL * 6);
    assert_eq!(known(&mut home)[0].silent, None);
}
