//! What a shuffler holds, commits and seals.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use webmesh_protocol::io::{Event, RequestError, RequestId};
use webmesh_protocol::manifest::Manifest;
use webmesh_protocol::message::{
    Accept, Announce, AttemptId, Attempts, BucketPiece, Commit, Push, PushEntry, Request, Response,
};
use webmesh_protocol::ring::{Assignment, Ring};
use webmesh_protocol::{JobId, PartitionId, PeerKey, StageId, TaskId, limits};

use super::peer::{
    NOTHING, PARTITIONS, Peer, SHUFFLER, TASKS, WORKER, announced, attempt, attempts, digest, epoch, job_of, key,
    manifest, push,
};

/// Peer 1, which shuffles a job of peer 0 together with peer 2.
fn shuffler() -> (Peer, Announce) {
    let mut shuffler = Peer::new(1, SHUFFLER);
    shuffler.meet(key(0), SHUFFLER);
    (5..10).for_each(|worker| shuffler.meet(key(worker), WORKER));
    let mut manifest = manifest();
    manifest.replicas = 1;
    let announce = announced(&manifest, 0, &[key(1), key(2)]);
    offer(&mut shuffler, &announce);
    shuffler.requests();
    (shuffler, announce)
}

fn offer(shuffler: &mut Peer, announce: &Announce) {
    let offer = Request::Offer { announce: announce.clone(), slot: 0, of: 1 };
    shuffler.ask(announce.home, offer, Bytes::new());
}

/// The commits since the last call. One without attempts, sent when a job opens, is left out.
fn commits(shuffler: &mut Peer) -> Vec<Commit> {
    shuffler.wait(Duration::from_millis(50));
    let commit = |(_, to, request)| match request {
        Request::Commit(commit) => {
            assert_eq!(to, key(0));
            Some(commit)
        }
        _ => None,
    };
    shuffler.requests().into_iter().filter_map(commit).filter(|commit| !commit.attempts.is_empty()).collect()
}

/// The attempts of the commits since the last call, all of which must be for all that the shuffler owns.
fn committed(shuffler: &mut Peer) -> Vec<AttemptId> {
    let commits = commits(shuffler);
    assert!(commits.iter().all(|commit| commit.epoch == 0 && commit.partitions.is_empty()), "{commits:?}");
    commits.iter().flat_map(|commit| commit.attempts.iter()).collect()
}

/// The authority's acceptance of these attempts; with all tasks accepted, it says how many buckets make a task.
fn acceptance(job: JobId, epoch: u32, attempts: &[AttemptId]) -> Request {
    let attempts = Attempts::pack(attempts.iter().copied());
    Request::Accept(Accept { job, stage: StageId(0), epoch, attempts, width: Some(1) })
}

fn accept(shuffler: &mut Peer, announce: &Announce, attempts: &[AttemptId]) {
    let accept = acceptance(announce.job, 0, attempts);
    assert_eq!(shuffler.ask(key(0), accept, Bytes::new()), Some(Response::Ok));
}

fn has_sealed(shuffler: &mut Peer) -> bool {
    shuffler.wait(Duration::from_millis(50));
    shuffler.requests().iter().any(|(_, _, request)| matches!(request, Request::Sealed(_)))
}

#[test]
fn an_attempt_that_cannot_be_held_is_not_acknowledged() {
    let (mut shuffler, job) = shuffler();
    fill(&mut shuffler, job.job);
    let late = push(job.job, 0, &[attempt(0, "late")]);
    assert_eq!(shuffler.ask(key(9), late, Bytes::new()), Some(Response::Busy));
}

/// Fills the places of task 0 with attempts of workers 5 to 8.
fn fill(shuffler: &mut Peer, job: JobId) {
    for i in 0..limits::DIGESTS_OF_TASK {
        let request = push(job, 0, &[attempt(0, &i.to_string())]);
        assert_eq!(shuffler.ask(key(5 + i as u8), request, Bytes::new()), Some(Response::Ok));
    }
}

#[test]
fn workers_that_have_proven_themselves_and_the_home_have_places_that_others_cannot_fill() {
    let (mut shuffler, job) = shuffler();
    let right = [attempt(1, "right")];
    assert_eq!(shuffler.ask(key(9), push(job.job, 0, &right), Bytes::new()), Some(Response::Ok));
    accept(&mut shuffler, &job, &right);
    fill(&mut shuffler, job.job);
    for peer in [9, 0] {
        let right = push(job.job, 0, &[attempt(0, &format!("of {peer}"))]);
        assert_eq!(shuffler.ask(key(peer), right, Bytes::new()), Some(Response::Ok));
    }
}

#[test]
fn one_worker_cannot_fill_the_places_of_a_task() {
    let (mut shuffler, job) = shuffler();
    let answers = (0..5).map(|i| {
        let lie = push(job.job, 0, &[attempt(0, &i.to_string())]);
        shuffler.ask(key(5), lie, Bytes::new())
    });
    let held = answers.filter(|answer| *answer == Some(Response::Ok)).count();
    assert_eq!(held, limits::DIGESTS_OF_AUTHOR);
}

#[test]
fn output_of_a_peer_that_is_no_worker_is_not_held() {
    let (mut shuffler, job) = shuffler();
    let lie = || push(job.job, 0, &[attempt(0, "lie")]);
    assert_eq!(shuffler.ask(key(20), lie(), Bytes::new()), Some(Response::Busy));
    shuffler.meet(key(20), NOTHING);
    assert_eq!(shuffler.ask(key(20), lie(), Bytes::new()), Some(Response::Busy));
    assert_eq!(committed(&mut shuffler), []);
}

#[test]
fn every_acknowledged_digest_is_committed_however_often_it_is_pushed() {
    let (mut shuffler, job) = shuffler();
    for what in ["one", "other", "other"] {
        shuffler.ask(key(5), push(job.job, 0, &[attempt(0, what)]), Bytes::new());
        assert_eq!(committed(&mut shuffler), [attempt(0, what)]);
    }
}

#[test]
fn a_commit_names_the_pushing_worker_as_author_whatever_the_push_says() {
    let (mut shuffler, job) = shuffler();
    for (worker, task) in [(5, 0), (6, 1), (5, 2)] {
        let Request::Push(pushed) = push(job.job, 0, &[attempt(task, "it")]) else { unreachable!("a push") };
        let pushed = Push { authors: vec![(key(7), 1)], ..pushed };
        shuffler.ask(key(worker), Request::Push(pushed), Bytes::new());
    }
    shuffler.wait(Duration::from_millis(50));
    let authors: Vec<(u32, PeerKey)> = shuffler
        .requests()
        .into_iter()
        .filter_map(|(_, _, request)| match request {
            Request::Commit(commit) => Some(commit.attempts),
            _ => None,
        })
        .flat_map(|attempts| {
            attempts.iter_authored().map(|attempt| (attempt.task.0, attempt.author)).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(authors, [(0, key(5)), (1, key(6)), (2, key(5))]);
}

#[test]
fn an_attempt_that_differs_from_a_missing_accepted_one_is_reported_and_not_held() {
    let (mut shuffler, job) = shuffler();
    shuffler.ask(key(5), push(job.job, 0, &[attempt(1, "here")]), Bytes::new());
    accept(&mut shuffler, &job, &[attempt(0, "lost"), attempt(1, "here")]);
    committed(&mut shuffler);
    let other = push(job.job, 0, &[attempt(0, "other"), attempt(1, "other")]);
    assert_eq!(shuffler.ask(key(5), other, Bytes::new()), Some(Response::Ok));
    assert_eq!(committed(&mut shuffler), [attempt(0, "other")]);
    accept(&mut shuffler, &job, &attempts(2..TASKS, "lost"));
    assert!(!has_sealed(&mut shuffler), "sealed without the reported attempt's segments");
}

#[test]
fn a_partition_is_not_sealed_without_the_accepted_attempt_of_every_task() {
    let (mut shuffler, job) = shuffler();
    let mine = attempts(0..TASKS, "mine");
    shuffler.ask(key(5), push(job.job, 0, &mine), Bytes::new());
    let mut accepted = mine.clone();
    accepted[2] = attempt(2, "never seen here");
    accept(&mut shuffler, &job, &accepted);
    assert!(!has_sealed(&mut shuffler));
    shuffler.ask(key(5), push(job.job, 0, &accepted), Bytes::new());
    accept(&mut shuffler, &job, &accepted);
    assert!(has_sealed(&mut shuffler));
}

#[test]
fn a_partition_is_not_sealed_before_its_division_into_tasks_is_settled() {
    let (mut shuffler, job) = shuffler();
    let all = attempts(0..TASKS, "all");
    shuffler.ask(key(5), push(job.job, 0, &all), Bytes::new());
    let attempts = Attempts::pack(all.iter().copied());
    let unsettled = Request::Accept(Accept { job: job.job, stage: StageId(0), epoch: 0, attempts, width: None });
    assert_eq!(shuffler.ask(key(0), unsettled, Bytes::new()), Some(Response::Ok));
    assert!(!has_sealed(&mut shuffler));
    accept(&mut shuffler, &job, &all);
    assert!(has_sealed(&mut shuffler));
}

#[test]
fn a_request_with_a_wrong_division_into_tasks_is_not_served() {
    let (mut shuffler, job) = shuffler();
    let all = attempts(0..TASKS, "all");
    shuffler.ask(key(5), push(job.job, 0, &all), Bytes::new());
    accept(&mut shuffler, &job, &all);
    shuffler.wait(Duration::from_millis(50));
    let sealed = |(_, _, request)| match request {
        Request::Sealed(sealed) => Some((sealed.partition, sealed.root)),
        _ => None,
    };
    let (partition, root) = shuffler.requests().into_iter().find_map(sealed).expect("a sealed partition");
    let mut ask = |width, task| {
        let task = TaskId(task);
        let piece = BucketPiece { job: job.job, stage: StageId(0), task, width, root, from: 0 };
        shuffler.ask(key(5), Request::Bucket(piece), Bytes::new())
    };
    assert_eq!(ask(1, u32::from(partition.0)), None, "the store answers");
    for (width, task) in [(2, u32::from(partition.0)), (0, u32::from(partition.0)), (1, u32::from(PARTITIONS))] {
        assert_eq!(ask(width, task), Some(Response::Missing), "{width} buckets a task");
    }
}

#[test]
fn pushed_bytes_are_reported_to_the_authority_and_counted_once() {
    let (mut shuffler, job) = shuffler();
    let ring = Ring::new(&job.epoch.open().expect("an epoch")).owners(StageId(0), PARTITIONS, 1);
    let partition = ring.partitions_of(key(1)).next().expect("a partition of its own");
    let told = |shuffler: &mut Peer, task: u32, len: u32, epoch: u32| {
        let entries = vec![PushEntry { task: TaskId(task), digest: digest("some"), segments: vec![(partition, len)] }];
        let push = Push { job: job.job, stage: StageId(0), epoch, replica: false, entries, authors: vec![] };
        shuffler.ask(key(5), Request::Push(push), Bytes::from(vec![0; len as usize]));
        shuffler.wait(Duration::from_millis(50));
        let bytes = |(_, _, request)| if let Request::Commit(commit) = request { Some(commit.bytes) } else { None };
        shuffler.requests().into_iter().filter_map(bytes).last()
    };
    assert_eq!(told(&mut shuffler, 0, 100, 0), Some(100));
    assert_eq!(told(&mut shuffler, 0, 100, 0), Some(100), "a repeated push is counted twice");
    assert_eq!(told(&mut shuffler, 1, 50, 0), Some(150));
    // A restarted home is told all of it again.
    shuffler.ask(key(0), Request::NewEpoch(epoch(job.job, 1, &[key(1)])), Bytes::new());
    assert_eq!(told(&mut shuffler, 2, 7, 1), Some(157));
}

#[test]
fn attempts_pushed_before_an_epoch_are_not_committed_for_partitions_that_it_added() {
    let (mut shuffler, job) = shuffler();
    shuffler.ask(key(5), push(job.job, 0, &[attempt(0, "mine")]), Bytes::new());
    shuffler.ask(key(0), Request::NewEpoch(epoch(job.job, 1, &[key(1)])), Bytes::new());
    let commits = commits(&mut shuffler);
    assert!(!commits.is_empty());
    assert!(commits.iter().all(|commit| commit.epoch == 1 && !commit.partitions.is_empty()), "{commits:?}");
}

#[test]
fn a_shuffler_that_lost_segments_resigns_until_it_is_replaced_and_seals_nothing() {
    let (mut shuffler, job) = shuffler();
    let mine = attempts(0..TASKS, "mine");
    shuffler.ask(key(5), push(job.job, 0, &mine), Bytes::new());
    shuffler.feed(Event::StoreFailed { job: job.job, why: "a full disk".to_owned() });
    let resigned = |shuffler: &mut Peer| {
        shuffler.wait(Duration::from_secs(3));
        let requests = shuffler.requests();
        assert!(!requests.iter().any(|(_, _, r)| matches!(r, Request::Commit(_) | Request::Sealed(_))));
        requests
            .iter()
            .filter(|(_, to, r)| *to == key(0) && matches!(r, Request::Resign { why, .. } if why == "a full disk"))
            .count()
    };
    assert!(resigned(&mut shuffler) > 1);
    assert_ne!(shuffler.ask(key(5), push(job.job, 0, &mine), Bytes::new()), Some(Response::Ok));
    let accept = acceptance(job.job, 0, &mine);
    assert_ne!(shuffler.ask(key(0), accept, Bytes::new()), Some(Response::Ok));
    shuffler.ask(key(0), Request::NewEpoch(epoch(job.job, 1, &[key(2)])), Bytes::new());
    assert_eq!(resigned(&mut shuffler), 0);
    // A restarted home may have forgotten the resignation.
    shuffler.ask(key(0), Request::NewEpoch(epoch(job.job, 2, &[key(1), key(2)])), Bytes::new());
    assert!(resigned(&mut shuffler) > 1);
}

/// The requests for lists of a partition's attempts since the last call: id, receiver, partition and first task.
fn asked_for_held(shuffler: &mut Peer) -> Vec<(RequestId, PeerKey, PartitionId, TaskId)> {
    let held = |(id, to, request)| match request {
        Request::Held { partition, from, .. } => Some((id, to, partition, from)),
        _ => None,
    };
    shuffler.requests().into_iter().filter_map(held).collect()
}

#[test]
fn a_pull_continues_in_the_next_epoch() {
    let (mut shuffler, job) = shuffler();
    // Peer 3 held everything and is one of two now; before it could answer, there is a third.
    let all = epoch(job.job, 1, &[key(3)]);
    shuffler.ask(key(0), Request::NewEpoch(all), Bytes::new());
    shuffler.ask(key(0), Request::NewEpoch(epoch(job.job, 2, &[key(1), key(3)])), Bytes::new());
    let first = asked_for_held(&mut shuffler);
    assert!(!first.is_empty());
    let next = epoch(job.job, 3, &[key(1), key(3), key(4)]);
    let ring = Ring::new(&next.open().expect("an epoch")).owners(StageId(0), PARTITIONS, 1);
    shuffler.ask(key(0), Request::NewEpoch(next), Bytes::new());
    let again = asked_for_held(&mut shuffler);
    for (_, to, partition, _) in first.into_iter().filter(|&(_, _, p, _)| ring.owns(key(1), p)) {
        assert!(again.iter().any(|a| (a.1, a.2) == (to, partition)), "the pull of partition {partition} was given up");
    }
}

#[test]
fn a_holder_whose_list_never_ends_is_given_up() {
    let (mut shuffler, job) = shuffler();
    shuffler.ask(key(0), Request::NewEpoch(epoch(job.job, 1, &[key(3)])), Bytes::new());
    shuffler.ask(key(0), Request::NewEpoch(epoch(job.job, 2, &[key(1), key(3)])), Bytes::new());
    let mut questions = 0;
    loop {
        let asked = asked_for_held(&mut shuffler);
        if asked.is_empty() {
            break;
        }
        questions += asked.len();
        assert!(questions < 100, "it is asked again and again");
        for (id, ..) in asked {
            let push =
                Push { job: job.job, stage: StageId(0), epoch: 2, replica: true, entries: vec![], authors: vec![] };
            shuffler.answer(id, Response::Pulled { push, next: Some(TaskId(0)) });
        }
    }
}

/// Peer 1, which shuffles a job with replicas together with peers 2 and 3.
fn copier(manifest: &Manifest) -> (Peer, Announce, Assignment) {
    let mut shuffler = Peer::new(1, SHUFFLER);
    shuffler.meet(key(0), SHUFFLER);
    shuffler.meet(key(5), WORKER);
    let announce = announced(manifest, 0, &[key(1), key(2), key(3)]);
    let ring = Ring::new(&announce.epoch.open().expect("an epoch")).owners(StageId(0), PARTITIONS, manifest.replicas);
    offer(&mut shuffler, &announce);
    shuffler.requests();
    (shuffler, announce, ring)
}

#[test]
fn an_unresponsive_replica_delays_its_partitions_briefly_and_others_not_at_all() {
    // The ring follows from the job's id: picks a job whose partitions here have both other peers as replicas.
    let of = |ring: &Assignment, peer| ring.partitions_of(key(1)).filter(|&p| ring.holds(key(peer), p)).count();
    let jobs = (0..100).map(|nonce| copier(&Manifest { nonce, ..manifest() }));
    let (mut shuffler, job, ring) =
        jobs.into_iter().find(|(_, _, ring)| of(ring, 2) > 0 && of(ring, 3) > 0).expect("one of a hundred");
    let all = attempts(0..TASKS, "all");
    shuffler.ask(key(5), push(job.job, 0, &all), Bytes::new());
    let copies: Vec<(RequestId, PeerKey)> = shuffler
        .requests()
        .into_iter()
        .filter_map(|(id, to, request)| matches!(request, Request::Push(_)).then_some((id, to)))
        .collect();
    let sealed = |shuffler: &mut Peer| -> BTreeSet<PartitionId> {
        shuffler.wait(Duration::from_millis(50));
        let sealed =
            |(_, _, request)| if let Request::Sealed(sealed) = request { Some(sealed.partition) } else { None };
        shuffler.requests().into_iter().filter_map(sealed).collect()
    };
    accept(&mut shuffler, &job, &all);
    assert_eq!(sealed(&mut shuffler), BTreeSet::new());
    let (silent, quick) = (copies[0], copies[1]);
    shuffler.answer(quick.0, Response::Ok);
    let mine = ring.partitions_of(key(1)).collect::<BTreeSet<PartitionId>>();
    let of_silent = mine.iter().copied().filter(|&p| ring.holds(silent.1, p)).collect::<BTreeSet<PartitionId>>();
    assert!(!of_silent.is_empty() && of_silent != mine, "the ring does not fit this test");
    assert_eq!(sealed(&mut shuffler), &mine - &of_silent);
    shuffler.feed(Event::Response { id: silent.0, outcome: Err(RequestError::TimedOut) });
    assert_eq!(sealed(&mut shuffler), of_silent);
}

#[test]
fn workers_wait_when_replicas_are_too_slow_for_their_copies() {
    let mut manifest = manifest();
    manifest.stages[0].tasks = 1_000;
    manifest.stages[0].limits.output = 1 << 20;
    let (mut shuffler, job, ring) = copier(&manifest);
    let partition = ring.partitions_of(key(1)).next().expect("a partition of its own");
    let segment = Bytes::from(vec![0; 1 << 20]);
    for task in TaskId::below(3 * (limits::COPY_BYTES / segment.len()) as u32) {
        let segments = vec![(partition, segment.len() as u32)];
        let entry = PushEntry { task, digest: digest("large"), segments };
        let push =
            Push { job: job.job, stage: StageId(0), epoch: 0, replica: false, entries: vec![entry], authors: vec![] };
        if shuffler.ask(key(5), Request::Push(push), segment.clone()) != Some(Response::Ok) {
            return;
        }
    }
    panic!("all is taken, and no replica has any of it");
}

#[test]
fn a_peer_without_the_shuffler_role_holds_no_segments() {
    for roles in [WORKER, NOTHING] {
        let mut peer = Peer::new(1, roles);
        peer.meet(key(0), SHUFFLER);
        let announce = announced(&manifest(), 0, &[key(1)]);
        offer(&mut peer, &announce);
        let answer = peer.ask(key(5), push(announce.job, 0, &[attempt(0, "mine")]), Bytes::new());
        assert!(matches!(answer, Some(Response::Refused(_))), "{answer:?}");
    }
}

#[test]
fn an_attempt_larger_than_its_job_allows_is_refused() {
    let (mut shuffler, job) = shuffler();
    let ring = Ring::new(&job.epoch.open().expect("an epoch")).owners(StageId(0), PARTITIONS, 1);
    let partition = ring.partitions_of(key(1)).next().expect("a partition of its own");
    let mut push_of = |len: u64| {
        let segments = vec![(partition, len as u32)];
        let entries = vec![PushEntry { task: TaskId(0), digest: digest("large"), segments }];
        let push = Push { job: job.job, stage: StageId(0), epoch: 0, replica: false, entries, authors: vec![] };
        shuffler.ask(key(5), Request::Push(push), Bytes::from(vec![0; len as usize]))
    };
    let most = manifest().stages[0].limits.output;
    assert_eq!(push_of(most), Some(Response::Ok));
    assert!(matches!(push_of(most * 2), Some(Response::Refused(_))));
}

#[test]
fn tables_of_one_owners_jobs_leave_room_for_those_of_others() {
    let mut shuffler = Peer::new(1, SHUFFLER);
    shuffler.meet(key(0), SHUFFLER);
    shuffler.meet(key(5), WORKER);
    let mut taken = 0;
    for nonce in 0..16 {
        let mut manifest = Manifest { nonce, ..manifest() };
        (manifest.stages[0].tasks, manifest.stages[0].block) = (limits::TASKS, 64);
        let announce = announced(&manifest, 0, &[key(1)]);
        offer(&mut shuffler, &announce);
        let answer = shuffler.ask(key(5), push(announce.job, 0, &[attempt(0, "one")]), Bytes::new());
        taken += usize::from(answer == Some(Response::Ok));
    }
    assert!(taken > 0 && taken * limits::TASKS as usize * 32 <= limits::TABLE_BYTES / 2, "{taken}");
    let other = job_of(8, 30, 1);
    shuffler.meet(key(8), SHUFFLER);
    offer(&mut shuffler, &other);
    let answer = shuffler.ask(key(5), push(other.job, 0, &[attempt(0, "one")]), Bytes::new());
    assert_eq!(answer, Some(Response::Ok), "another's job finds no room");
}

#[test]
fn an_acceptance_of_a_later_epoch_waits_for_that_epoch() {
    let (mut shuffler, job) = shuffler();
    let accept = acceptance(job.job, 1, &[attempt(0, "mine")]);
    assert_eq!(shuffler.ask(key(0), accept.clone(), Bytes::new()), Some(Response::Busy));
    shuffler.ask(key(0), Request::NewEpoch(epoch(job.job, 1, &[key(1)])), Bytes::new());
    assert_eq!(shuffler.ask(key(0), accept, Bytes::new()), Some(Response::Ok));
}
