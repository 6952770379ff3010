//! Homes that have lost the end of a job's log, and peers that remember more.

use std::time::Duration;

use bytes::Bytes;
use webmesh_protocol::decisions::replay;
use webmesh_protocol::epoch::{Epoch, Generations};
use webmesh_protocol::io::{Action, Event, NetAction, Resumption, StoreAction, Submission};
use webmesh_protocol::message::{Accept, Announce, Attempts, Commit, End, Gossip, Outcome, Request, Response};
use webmesh_protocol::sign::{Keypair, Signed};
use webmesh_protocol::{Generation, Hash, JobId, ShardId, ShardRef, ShuffleShape, StageId, TaskId};

use super::peer::{
    NOTHING, Peer, SHUFFLER, TASKS, WORKER, announced, attempt, attempts, committed, digest, epoch, greeting, key,
    manifest, owner, push,
};

/// A home whose job's log is kept, with the frames of the batches that it wrote.
struct Kept {
    home: Peer,
    job: JobId,
    log: Vec<Bytes>,
    /// The epochs that it announced.
    epochs: Vec<Signed<Epoch>>,
}

impl Kept {
    fn submit() -> Self {
        let mut home = Peer::new(0, NOTHING);
        (1..4).for_each(|shuffler| home.meet(key(shuffler), SHUFFLER));
        home.feed(Event::Submit(Box::new(Submission { manifest: manifest(), key: owner(), kept: true })));
        let mut kept = Self { home, job: JobId([0; 32]), log: Vec::new(), epochs: Vec::new() };
        kept.go_on();
        kept
    }

    /// Resumes a job from the first batches of its log, with a clock that shows this many seconds.
    fn resume(batches: &[Bytes], seconds: u64) -> Self {
        let mut home = Peer::started(0, NOTHING, seconds * 1_000_000);
        let state = replay(&batches.concat()).state.expect("a state");
        let job = state.job();
        home.feed(Event::Resume(Box::new(Resumption { state, key: owner(), lost: vec![] })));
        (1..4).for_each(|shuffler| home.meet(key(shuffler), SHUFFLER));
        let mut kept = Self { home, job, log: batches.to_vec(), epochs: Vec::new() };
        kept.go_on();
        kept
    }

    /// Completes its disk writes and lets time pass.
    fn go_on(&mut self) {
        for _ in 0..10 {
            self.home.wait(Duration::from_millis(200));
            for action in self.home.actions() {
                match action {
                    Action::Store(StoreAction::Persist { job, number, bytes, .. }) => {
                        self.job = job;
                        self.log.push(bytes);
                        self.home.feed(Event::Persisted { job, number, result: Ok(()) });
                    }
                    Action::Net(NetAction::Request { id, request: Request::NewEpoch(told), .. }) => {
                        if self.newest().0 != Some(&told) {
                            self.epochs.push(told);
                        }
                        self.home.answer(id, Response::Ok);
                    }
                    _ => {}
                }
            }
        }
    }

    /// The newest epoch that it sent to its shufflers.
    fn newest(&self) -> (Option<&Signed<Epoch>>, Option<Epoch>) {
        let newest = self.epochs.last();
        (newest, newest.map(|epoch| epoch.open().expect("an epoch")))
    }

    fn number(&self) -> u32 {
        self.newest().1.expect("it told of an epoch").number
    }

    /// Peers 1 to 3 commit attempts of all tasks under the newest epoch.
    fn commit(&mut self, what: &str, opened: u64) {
        let all = attempts(0..TASKS, what);
        let number = self.number();
        for shuffler in 1..4 {
            let commit = Commit { opened, ..committed(self.job, number, &all) };
            self.home.ask(key(shuffler), Request::Commit(commit), Bytes::new());
        }
        self.go_on();
    }

    fn show(&mut self, epoch: &Signed<Epoch>) {
        self.home.ask(key(2), Request::NewEpoch(epoch.clone()), Bytes::new());
        self.go_on();
    }
}

/// A log that continues after an epoch without peer 1, and that epoch.
fn second_epoch() -> (Vec<Bytes>, Signed<Epoch>) {
    let mut first = Kept::submit();
    first.home.ask(key(1), Request::Resign { job: first.job, why: String::new() }, Bytes::new());
    first.go_on();
    assert_eq!((first.number(), first.log.len()), (1, 2));
    let second = first.epochs.last().cloned().expect("an epoch");
    (first.log, second)
}

#[test]
fn a_restarted_home_numbers_its_epochs_above_any_lost_one() {
    let (log, _) = second_epoch();
    let first = Kept::resume(&log[..1], 1_000_000);
    assert_eq!(first.number(), 1_000_000);
    // A clock that was set back does not decrease the number.
    let second = Kept::resume(&first.log, 10);
    assert_eq!(second.number(), 1_000_001);
}

#[test]
fn a_lost_epoch_is_superseded_once_a_peer_shows_it() {
    let (log, lost) = second_epoch();
    // With a clock that shows 0, the first epoch of the second run has the same number.
    let mut again = Kept::resume(&log[..1], 0);
    assert_eq!(again.number(), 1);
    assert_ne!(again.newest().0.map(Signed::hash), Some(lost.hash()));
    again.show(&lost);
    assert_eq!(again.number(), 2);
    // The superseding epoch is in the log, and there is only one.
    assert_eq!(replay(&again.log.concat()).state.and_then(|state| Some(state.epoch()?.number)), Some(2));
    again.show(&lost);
    assert_eq!(again.number(), 2);
}

#[test]
fn only_its_owner_can_move_a_job_to_another_epoch() {
    let (log, lost) = second_epoch();
    let mut again = Kept::resume(&log[..1], 0);
    let mut forged = lost.open().expect("an epoch");
    forged.number = 1_000;
    let forged = Keypair::from_secret([9; 32]).sign(&forged);
    again.show(&forged);
    // An epoch of another job of the same owner has no effect on this one.
    again.show(&epoch(JobId([1; 32]), 1_000, &[key(1)]));
    assert_eq!(again.number(), 1);
}

#[test]
fn a_lost_revocation_is_repeated_once_a_peer_shows_its_epoch() {
    let mut first = Kept::submit();
    first.commit("first", 1);
    let settled = first.log.len();
    // All are restarted, and the tasks give different output.
    first.commit("first", 1);
    for shuffler in 1..4 {
        first.home.ask(key(shuffler), greeting(first.job, 0, 2), Bytes::new());
    }
    (0..3).for_each(|_| first.go_on());
    first.commit("second", 2);
    let lost = first.epochs.last().cloned().expect("an epoch");
    let generation = |epoch: &Signed<Epoch>| epoch.open().expect("an epoch").generation().0;
    assert_eq!(generation(&lost), 1, "what the tasks gave at first is revoked");
    // The log is cut before that. The clock shows more than the number of the epoch, and less than the revoked
    // generation.
    let mut again = Kept::resume(&first.log[..settled], 50);
    assert_eq!((again.number(), generation(again.newest().0.expect("an epoch"))), (50, 0));
    again.commit("second", 2);
    again.show(&lost);
    assert!(generation(again.newest().0.expect("an epoch")) > 1);
    let state = replay(&again.log.concat()).state.expect("a state");
    assert_eq!(state.stage(StageId(0)).map(|stage| stage.accepted().count()), Some(0));
    again.commit("second", 2);
    let state = replay(&again.log.concat()).state.expect("a state");
    let digests: Vec<Option<Hash>> = TaskId::below(TASKS).map(|task| state.stage(StageId(0))?.digest(task)).collect();
    assert_eq!(digests, vec![Some(digest("second")); TASKS as usize]);
}

#[test]
fn shufflers_forget_acceptances_that_their_home_may_have_lost() {
    let mut first = Kept::submit();
    let opened = first.log.len();
    first.commit("first", 1);
    assert!(first.log.len() > opened, "acceptances were written");
    let whole = Kept::resume(&first.log, 50);
    assert_eq!(
        whole.newest().1.map(|epoch| epoch.generation()),
        Some(Generation::FIRST),
        "a complete log starts a new generation"
    );
    let again = Kept::resume(&first.log[..opened], 50);
    let writes = again.newest().1.expect("an epoch").generations_of(StageId(0)).writes;
    assert_eq!(writes, Generation(50), "the generation is not above any lost one");
}

#[test]
fn tasks_that_no_shuffler_holds_are_reopened_soon_after_all_shufflers_were_reached() {
    let mut first = Kept::submit();
    first.commit("first", 1);
    let done = |again: &mut Kept| match again.home.ask(
        key(9),
        Request::Summary(ShardRef { job: again.job, stage: StageId(0), shard: ShardId(0) }),
        Bytes::new(),
    ) {
        Some(Response::Summary(summary)) => summary.done[0],
        other => panic!("{other:?}"),
    };
    for reached in [3, 2] {
        let mut again = Kept::resume(&first.log, 50);
        let (job, epoch) = (again.job, again.number());
        for shuffler in (1..4).take(reached) {
            again.home.ask(key(shuffler), greeting(job, epoch, 9), Bytes::new());
        }
        assert_eq!(done(&mut again), TASKS, "replicas may still come forward");
        (0..2).for_each(|_| again.go_on());
        assert_eq!(done(&mut again), if reached == 3 { 0 } else { TASKS }, "{reached} of 3 were reached");
    }
}

#[test]
fn a_done_job_whose_home_lost_its_last_results_fails_with_that_reason() {
    let (log, _) = second_epoch();
    let mut again = Kept::resume(&log, 50);
    let done = owner().sign(&End { job: again.job, outcome: Outcome::Done });
    again.home.ask(key(2), Request::Ended(done), Bytes::new());
    match again.home.ended() {
        Some(Outcome::Failed(why)) => assert!(why.contains("the job was done") && why.contains("submit it again")),
        other => panic!("{other:?}"),
    }
}

/// The requests in which a peer shows an epoch to a job's home.
fn shown(peer: &mut Peer) -> Vec<Signed<Epoch>> {
    let shows = |(_, to, request)| match request {
        Request::NewEpoch(epoch) if to == key(0) => Some(epoch),
        _ => None,
    };
    peer.requests().into_iter().filter_map(shows).collect()
}

fn offer(peer: &mut Peer, announce: &Announce) {
    peer.ask(key(0), Request::Offer { announce: announce.clone(), slot: 0, of: 1 }, Bytes::new());
}

/// A later epoch of a job, of a generation.
fn later(announce: &Announce, number: u32, generation: u32) -> Announce {
    let mut epoch = announce.epoch.open().expect("an epoch");
    (epoch.number, epoch.previous) = (number, Some(announce.epoch.hash()));
    epoch.generations =
        [0, generation].map(|reads| Generations { reads: Generation(reads), writes: Generation(generation) }).to_vec();
    Announce { epoch: owner().sign(&epoch), ..announce.clone() }
}

#[test]
fn a_peer_periodically_shows_a_home_the_epoch_that_it_lost() {
    for roles in [WORKER, SHUFFLER] {
        let mut peer = Peer::new(3, roles);
        peer.meet(key(0), NOTHING);
        let first = announced(&manifest(), 0, &[key(1), key(2)]);
        let known = later(&first, 5, 3);
        offer(&mut peer, &known);
        assert_eq!(shown(&mut peer), []);
        for behind in [first.clone(), later(&first, 5, 4), later(&first, 9, 2)] {
            offer(&mut peer, &behind);
            assert_eq!(shown(&mut peer), std::slice::from_ref(&known.epoch), "{:?}", behind.epoch.open());
            offer(&mut peer, &behind);
            assert_eq!(shown(&mut peer), [], "it is shown an epoch twice in short order");
            peer.wait(Duration::from_secs(3));
            peer.requests();
        }
        // No other peer is shown anything, and gossip, which may be late, triggers nothing.
        peer.ask(key(7), Request::NewEpoch(first.epoch.clone()), Bytes::new());
        assert_eq!(shown(&mut peer), []);
        offer(&mut peer, &later(&first, 9, 3));
        assert_eq!(shown(&mut peer), [], "it is shown an epoch although it has lost none");
    }
}

#[test]
fn an_epoch_that_contradicts_a_revocation_is_ignored() {
    let mut shuffler = Peer::new(1, SHUFFLER);
    shuffler.meet(key(0), NOTHING);
    shuffler.meet(key(5), WORKER);
    let first = announced(&manifest(), 0, &[key(1), key(2)]);
    offer(&mut shuffler, &later(&first, 5, 3));
    offer(&mut shuffler, &later(&first, 9, 2));
    let answer = |shuffler: &mut Peer, epoch: u32| {
        shuffler.ask(key(5), push(first.job, epoch, &[attempt(0, "it")]), Bytes::new())
    };
    assert_eq!(answer(&mut shuffler, 5), Some(Response::Ok));
    offer(&mut shuffler, &later(&first, 10, 4));
    assert_eq!(answer(&mut shuffler, 10), Some(Response::Ok));
}

#[test]
fn a_new_generation_may_have_another_division_into_tasks() {
    let mut shuffler = Peer::new(1, SHUFFLER);
    shuffler.meet(key(0), NOTHING);
    shuffler.meet(key(5), WORKER);
    let mut described = manifest();
    described.replicas = 1;
    described.stages[0].sink =
        webmesh_protocol::manifest::Sink::Shuffle(ShuffleShape { partitions: super::peer::PARTITIONS, buckets: 64 });
    described.stages[1].tasks = 64;
    let first = announced(&described, 0, &[key(1)]);
    offer(&mut shuffler, &first);
    let all = attempts(0..TASKS, "all");
    shuffler.ask(key(5), push(first.job, 0, &all), Bytes::new());
    let mut seals_with = |epoch: u32, width: u32| -> Vec<u32> {
        let (job, attempts) = (first.job, Attempts::pack(all.iter().copied()));
        let accept = Request::Accept(Accept { job, stage: StageId(0), epoch, attempts, width: Some(width) });
        assert_eq!(shuffler.ask(key(0), accept, Bytes::new()), Some(Response::Ok));
        shuffler.wait(Duration::from_millis(50));
        let widths = shuffler.actions().into_iter().filter_map(|action| match action {
            Action::Net(NetAction::Publish { message: Gossip::Seals(seals), .. }) => Some(seals.width),
            _ => None,
        });
        let widths = widths.collect();
        if epoch == 0 {
            offer(&mut shuffler, &later(&first, 7, 7));
            shuffler.actions();
        }
        widths
    };
    assert_eq!(seals_with(0, 4), [4]);
    assert_eq!(seals_with(7, 2), [2]);
}

#[test]
fn a_job_continues_once_its_home_announces_an_epoch_after_its_goodbye() {
    let mut peer = Peer::new(3, WORKER);
    peer.meet(key(0), NOTHING);
    let first = announced(&manifest(), 0, &[key(1), key(2)]);
    offer(&mut peer, &first);
    peer.ask(key(0), Request::Goodbye, Bytes::new());
    let jobs = |peer: &mut Peer| peer.engine.load().jobs;
    assert_eq!(jobs(&mut peer), 0);
    offer(&mut peer, &first);
    assert_eq!(jobs(&mut peer), 0, "a late announcement reopens the job");
    offer(&mut peer, &later(&first, 1, 0));
    assert_eq!(jobs(&mut peer), 1);
}

#[test]
fn a_home_that_resumes_a_finished_job_is_shown_its_end() {
    let mut peer = Peer::new(3, WORKER);
    peer.meet(key(0), NOTHING);
    let first = announced(&manifest(), 0, &[key(1), key(2)]);
    offer(&mut peer, &first);
    let end = owner().sign(&End { job: first.job, outcome: Outcome::Done });
    peer.ask(key(0), Request::Ended(end.clone()), Bytes::new());
    peer.requests();
    offer(&mut peer, &later(&first, 1, 0));
    let told = |(_, to, request)| matches!(request, Request::Ended(told) if to == key(0) && told == end);
    assert!(peer.requests().into_iter().any(told));
}
