//! Unresponsive shufflers: how soon a job continues without them, and what its user is told meanwhile.

use std::time::Duration;

use bytes::Bytes;
use webmesh_protocol::epoch::Epoch;
use webmesh_protocol::io::{Action, Event, NetAction, Notice, RequestError, RequestId, StoreAction, Submission};
use webmesh_protocol::manifest::Manifest;
use webmesh_protocol::message::{Announce, Gossip, JobNews, Request, Response};
use webmesh_protocol::{JobId, PeerKey, ShardId, ShardRef, StageId};

use super::peer::{NOTHING, Peer, SHUFFLER, TASKS, WORKER, advert, attempt, commit, key, manifest, owner};

/// A peer with a job of its own that peers 1 and 2 shuffle.
fn home() -> (Peer, Announce) {
    let mut home = Peer::new(0, NOTHING);
    home.meet(key(1), SHUFFLER);
    home.meet(key(2), SHUFFLER);
    let announce = home.submit(manifest());
    home.actions();
    (home, announce)
}

/// What a home did while time passed.
#[derive(Default)]
struct Seen {
    /// The number of probes sent to peer 1.
    probes: u32,
    /// What the user was told that the job waits for.
    told: Vec<(Option<PeerKey>, String)>,
    /// The number of notices that waiting is over.
    over: u32,
    /// The newest epoch that was sent to a shuffler.
    epoch: Option<Epoch>,
}

/// Lets time pass while some shufflers answer, and `each_second` happens.
fn wait(home: &mut Peer, seconds: u64, answering: &[u8], each_second: impl Fn(&mut Peer)) -> Seen {
    let mut seen = Seen::default();
    for _ in 0..seconds {
        home.wait(Duration::from_secs(1));
        each_second(home);
        for action in home.actions() {
            match action {
                Action::Net(NetAction::Request { id, to, request: Request::NewEpoch(epoch), .. }) => {
                    seen.epoch = epoch.open().ok();
                    seen.probes += u32::from(to == key(1));
                    if answering.iter().any(|&peer| key(peer) == to) {
                        home.answer(id, Response::Ok);
                    }
                }
                Action::Notify(Notice::Waiting { peer, why, .. }) => seen.told.push((peer, why)),
                Action::Notify(Notice::WaitingOver { .. }) => seen.over += 1,
                _ => {}
            }
        }
    }
    seen
}

fn number(seen: &Seen) -> Option<u32> {
    seen.epoch.as_ref().map(|epoch| epoch.number)
}

#[test]
fn a_silent_shuffler_is_probed_four_times_and_reported_before_it_is_replaced() {
    let (mut home, _) = home();
    let seen = wait(&mut home, 9, &[2], |_| {});
    assert_eq!(number(&seen), Some(0), "too early");
    assert!((4..=5).contains(&seen.probes), "{}", seen.probes);
    let told: Vec<&(Option<PeerKey>, String)> = seen.told.iter().filter(|(peer, _)| *peer == Some(key(1))).collect();
    let [(_, why)] = told[..] else { panic!("it is reported once: {:?}", seen.told) };
    assert!(why.contains(&key(1).short()) && why.contains("has not answered for 4 s"), "{why}");
    let seen = wait(&mut home, 2, &[2], |_| {});
    let epoch = seen.epoch.expect("a new epoch");
    assert_eq!((epoch.number, epoch.shufflers.iter().map(|s| s.peer).collect()), (1, vec![key(2)]));
    assert!(matches!(&seen.told[..], [(Some(_), why)] if why.contains("goes on without it")), "{:?}", seen.told);
}

#[test]
fn a_busy_shuffler_whose_connection_is_alive_has_longer_to_answer() {
    let (mut home, _) = home();
    let pong = |home: &mut Peer| home.feed(Event::Rtt { peer: key(1), rtt: Duration::from_millis(1) });
    assert_eq!(number(&wait(&mut home, 20, &[2], pong)), Some(0));
    assert_eq!(
        number(&wait(&mut home, 5, &[2], pong)),
        Some(1),
        "it is unresponsive, although its connection is alive"
    );
}

/// A home that remembers shufflers 1 to 3 and has a connection to none of them; the one it named, and the dial to it.
fn home_with_remembered_shufflers() -> (Peer, JobId, PeerKey, RequestId) {
    let mut home = Peer::new(0, NOTHING);
    home.meet(key(4), WORKER);
    for shuffler in 1..4 {
        home.feed(Event::Gossip { from: key(shuffler), message: Gossip::Advert(advert(SHUFFLER)) });
    }
    let mut manifest = manifest();
    manifest.replicas = 1;
    let job = home.submit(manifest);
    let named: PeerKey = job.epoch.peek(|epoch| epoch.shufflers[0].peer).expect("an epoch");
    let dial =
        home.requests().into_iter().find(|(_, to, request)| *to == named && matches!(request, Request::NewEpoch(_)));
    (home, job.job, named, dial.expect("it is dialled at once").0)
}

/// The shufflers in the last announcement.
fn announced(home: &mut Peer) -> Vec<PeerKey> {
    let announced = home.actions().into_iter().rev().find_map(|action| match action {
        Action::Net(NetAction::Publish { message: Gossip::Jobs(news), .. }) => {
            news.into_iter().find_map(|news| match news {
                JobNews::Lives(announce) => announce.epoch.open().ok(),
                JobNews::Ended(_) => None,
            })
        }
        _ => None,
    });
    announced.expect("an announcement").shufflers.iter().map(|s| s.peer).collect()
}

#[test]
fn a_remembered_shuffler_that_cannot_be_dialled_is_replaced_at_once_and_not_by_another_remembered_one() {
    let (mut home, _, _, id) = home_with_remembered_shufflers();
    home.feed(Event::Response { id, outcome: Err(RequestError::Unreachable) });
    home.wait(Duration::from_secs(3));
    assert_eq!(announced(&mut home), [key(0)], "each of the others would have to be dialled too");
}

#[test]
fn a_remembered_shuffler_that_is_reached_stays() {
    let (mut home, _, named, id) = home_with_remembered_shufflers();
    home.meet(named, SHUFFLER);
    home.answer(id, Response::Ok);
    assert_eq!(number(&wait(&mut home, 7, &[1, 2, 3], |_| {})), Some(0));
}

#[test]
fn a_shuffler_whose_connection_broke_has_time_to_come_back_even_if_a_dial_fails() {
    let (mut home, _) = home();
    home.feed(Event::Disconnected { peer: key(1) });
    let dial = home.requests().into_iter().find(|(_, to, _)| *to == key(1)).expect("it is dialled").0;
    home.feed(Event::Response { id: dial, outcome: Err(RequestError::Unreachable) });
    home.wait(Duration::from_secs(1));
    home.meet(key(1), SHUFFLER);
    assert_eq!(number(&wait(&mut home, 5, &[1, 2], |_| {})), Some(0));
}

#[test]
fn a_job_without_progress_says_what_it_waits_for_and_when_waiting_is_over() {
    let (mut home, job) = home();
    assert_eq!(wait(&mut home, 3, &[1, 2], |_| {}).told, []);
    let seen = wait(&mut home, 10, &[1, 2], |_| {});
    assert!(matches!(&seen.told[..], [(None, why)] if why.contains("no worker is connected")), "{:?}", seen.told);
    home.meet(key(3), WORKER);
    let seen = wait(&mut home, 10, &[1, 2], |_| {});
    assert!(matches!(&seen.told[..], [(None, why)] if why.contains("none of 1 connected")), "{:?}", seen.told);
    home.ask(key(3), Request::Summary(ShardRef { job: job.job, stage: StageId(0), shard: ShardId(0) }), Bytes::new());
    let seen = wait(&mut home, 10, &[1, 2], |_| {});
    assert!(matches!(&seen.told[..], [(None, why)] if why.contains("4 of 4 map tasks are left")), "{:?}", seen.told);
    assert_eq!(seen.over, 0);
    (1..3).for_each(|shuffler| {
        home.ask(key(shuffler), commit(job.job, 0, &[attempt(0, "it")]), Bytes::new());
    });
    let seen = wait(&mut home, 3, &[1, 2], |_| {});
    assert_eq!((seen.over, seen.told), (1, vec![]));
}

#[test]
fn a_shuffler_that_lacks_results_of_others_is_reported() {
    let (mut home, job) = home();
    home.ask(key(3), Request::Summary(ShardRef { job: job.job, stage: StageId(0), shard: ShardId(0) }), Bytes::new());
    home.ask(key(2), commit(job.job, 0, &[attempt(0, "done")]), Bytes::new());
    let seen = wait(&mut home, 10, &[1, 2], |_| {});
    assert!(matches!(&seen.told[..], [(Some(peer), _)] if *peer == key(1)), "{:?}", seen.told);
}

#[test]
fn a_job_without_progress_says_why_a_shuffler_resigned() {
    let (mut home, job) = home();
    home.ask(key(1), Request::Resign { job: job.job, why: "its disk is full".to_owned() }, Bytes::new());
    let seen = wait(&mut home, 6, &[2], |_| {});
    assert!(matches!(&seen.told[..], [(Some(_), why)] if why.contains("its disk is full")), "{:?}", seen.told);
}

#[test]
fn a_job_that_makes_progress_says_nothing_of_waiting() {
    let (mut home, job) = home();
    let mut told = Vec::new();
    for task in 0..TASKS {
        (1..3).for_each(|shuffler| {
            home.ask(key(shuffler), commit(job.job, 0, &[attempt(task, "it")]), Bytes::new());
        });
        told.extend(wait(&mut home, 3, &[1, 2], |_| {}).told);
    }
    assert_eq!(told, []);
}

/// Reports that the pending batches of a log are persisted; gives their number.
fn persist(home: &mut Peer) -> usize {
    let batch = |action| match action {
        Action::Store(StoreAction::Persist { job, number, .. }) => Some((job, number)),
        _ => None,
    };
    let batches: Vec<_> = home.actions().into_iter().filter_map(batch).collect();
    for &(job, number) in &batches {
        home.feed(Event::Persisted { job, number, result: Ok(()) });
    }
    batches.len()
}

#[test]
fn a_shuffler_lost_while_an_epoch_is_written_to_the_log_is_replaced_by_the_next_epoch() {
    let mut home = Peer::new(0, NOTHING);
    (1..3).for_each(|shuffler| home.meet(key(shuffler), SHUFFLER));
    let submission = Submission { manifest: manifest(), key: owner(), kept: true };
    let job = Manifest::id_of(&owner().sign(&submission.manifest));
    home.feed(Event::Submit(Box::new(submission)));
    assert_eq!(persist(&mut home), 1);
    for shuffler in 1..3 {
        home.ask(key(shuffler), Request::Resign { job, why: "its disk is full".to_owned() }, Bytes::new());
    }
    while persist(&mut home) > 0 {}
    assert_eq!(home.ended(), None);
    home.wait(Duration::from_secs(3));
    assert_eq!(announced(&mut home), [key(0)]);
}
