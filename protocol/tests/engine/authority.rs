//! What an authority accepts from its shufflers and workers.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use webmesh_protocol::decisions::replay;
use webmesh_protocol::epoch::Epoch;
use webmesh_protocol::io::{Action, Event, NetAction, Notice, Resumption, StoreAction, Submission};
use webmesh_protocol::manifest::Sink;
use webmesh_protocol::membership::{Advert, Kind};
use webmesh_protocol::message::{
    Announce, AttemptId, Cause, Claim, Commit, Failure, Gossip, JobNews, Outcome, Request, Response, Sealed, Topic,
};
use webmesh_protocol::{Hash, JobId, PartitionId, PeerKey, ShardId, ShardRef, ShuffleShape, StageId, TaskId, segment};

use super::peer::{
    NOTHING, PARTITIONS, Peer, SHUFFLER, TASKS, WORKER, advert, attempt, attempts, commit, committed, digest, greeting,
    key, manifest, owner,
};

/// A peer with a job of its own, which peers 1 and 2 shuffle.
fn home() -> (Peer, Announce) {
    let mut home = Peer::new(0, NOTHING);
    home.meet(key(1), SHUFFLER);
    home.meet(key(2), SHUFFLER);
    let announce = home.submit(manifest());
    home.requests();
    (home, announce)
}

/// The acceptances sent since the last call: the receivers and the attempts.
fn accepted(home: &mut Peer) -> Vec<(PeerKey, Vec<AttemptId>)> {
    home.wait(Duration::from_millis(50));
    let accept = |(_, to, request)| match request {
        Request::Accept(accept) => Some((to, accept.attempts.iter().collect())),
        _ => None,
    };
    home.requests().into_iter().filter_map(accept).collect()
}

#[test]
fn a_commit_of_a_peer_without_partitions_is_ignored() {
    let (mut home, job) = home();
    let lie = commit(job.job, 0, &[attempt(0, "lie")]);
    assert!(matches!(home.ask(key(9), lie, Bytes::new()), Some(Response::NotOwner(_))));
    for shuffler in [1, 2] {
        home.ask(key(shuffler), commit(job.job, 0, &[attempt(0, "truth")]), Bytes::new());
    }
    assert_eq!(accepted(&mut home).len(), 2, "a stranger's digest blocks the acceptance");
}

#[test]
fn the_first_digest_held_by_all_owners_is_accepted() {
    let (mut home, job) = home();
    // One worker pushed to one owner only and was lost; then another worker's output differs.
    home.ask(key(1), commit(job.job, 0, &[attempt(0, "half")]), Bytes::new());
    for shuffler in [1, 2] {
        assert_eq!(accepted(&mut home), []);
        home.ask(key(shuffler), commit(job.job, 0, &[attempt(0, "whole")]), Bytes::new());
    }
    let accepted = accepted(&mut home);
    assert_eq!(accepted.len(), 2);
    assert!(accepted.iter().all(|(_, attempts)| *attempts == [attempt(0, "whole")]));
}

#[test]
fn an_accepted_digest_does_not_change() {
    let (mut home, job) = home();
    for what in ["first", "second"] {
        for shuffler in [1, 2] {
            let attempts = attempts(0..TASKS, what);
            home.ask(key(shuffler), commit(job.job, 0, &attempts), Bytes::new());
        }
    }
    let accepted = accepted(&mut home);
    assert!(!accepted.is_empty());
    assert!(
        accepted.iter().flat_map(|(_, attempts)| attempts).all(|attempt| attempt.digest == digest("first")),
        "{accepted:?}"
    );
}

/// How many buckets make a task, from the last message to any shuffler.
fn width_told(home: &mut Peer) -> Option<u32> {
    home.wait(Duration::from_millis(50));
    let width = |(_, _, request)| if let Request::Accept(accept) = request { accept.width } else { None };
    home.requests().into_iter().filter_map(width).last()
}

/// Commits of both shufflers for all tasks from `first` on, each with `pushed` bytes.
fn commit_all(home: &mut Peer, job: JobId, first: u32, pushed: u64) {
    let all = attempts(first..TASKS, "all");
    for shuffler in [1, 2] {
        let commit = Commit { bytes: pushed, ..committed(job, 0, &all) };
        home.ask(key(shuffler), Request::Commit(commit), Bytes::new());
    }
}

#[test]
fn the_number_of_reduce_tasks_follows_the_bytes_written_and_is_sent_with_the_last_acceptance() {
    // Eight partitions of 16 buckets; a task should read a hundred bytes.
    let each = 16;
    for (pushed, width) in [(0, 16), (400, 16), (800, 8), (1 << 40, 1)] {
        let mut job = manifest();
        job.stages[0].sink =
            Sink::Shuffle(ShuffleShape { partitions: PARTITIONS, buckets: u32::from(PARTITIONS) * each });
        (job.stages[1].tasks, job.stages[1].task_bytes) = (u32::from(PARTITIONS) * each, 100);
        let mut home = Peer::new(0, NOTHING);
        home.meet(key(1), SHUFFLER);
        home.meet(key(2), SHUFFLER);
        let announce = home.submit(job);
        for shuffler in [1, 2] {
            home.ask(key(shuffler), commit(announce.job, 0, &[attempt(0, "all")]), Bytes::new());
        }
        assert_eq!(width_told(&mut home), None, "not all is written");
        commit_all(&mut home, announce.job, 1, pushed);
        assert_eq!(width_told(&mut home), Some(width));
        // Later commits change nothing: tasks may have started.
        commit_all(&mut home, announce.job, 1, 1 << 50);
        let Some(Response::Summary(summary)) = home.ask(
            key(3),
            Request::Summary(ShardRef { job: announce.job, stage: StageId(1), shard: ShardId(0) }),
            Bytes::new(),
        ) else {
            panic!("no summary");
        };
        let tasks = u32::from(PARTITIONS) * each.div_ceil(width);
        assert_eq!((summary.width, summary.shards[0].blocks), (Some(width), tasks));
        let status = home.ask(key(3), Request::Jobs, Bytes::new());
        let Some(Response::Jobs(jobs)) = status else { panic!("no list of jobs") };
        assert_eq!(jobs[0].stages, [(TASKS, TASKS), (0, tasks)]);
    }
}

/// The epoch last sent to a shuffler.
fn newest_epoch(home: &mut Peer) -> Option<Epoch> {
    let epoch = |(_, _, request)| match request {
        Request::NewEpoch(epoch) => epoch.open().ok(),
        _ => None,
    };
    home.requests().into_iter().filter_map(epoch).last()
}

/// A shuffler's message that it lost its segments.
fn resign(job: JobId) -> Request {
    Request::Resign { job, why: "its disk is full".to_owned() }
}

#[test]
fn a_resigned_shuffler_is_replaced_and_not_chosen_again() {
    let (mut home, job) = home();
    home.meet(key(3), SHUFFLER);
    home.ask(key(1), resign(job.job), Bytes::new());
    let epoch = newest_epoch(&mut home).expect("a new epoch");
    let named = |epoch: &Epoch| -> BTreeSet<PeerKey> { epoch.shufflers.iter().map(|s| s.peer).collect() };
    assert_eq!(named(&epoch), BTreeSet::from([key(2), key(3)]));
    // It comes back, and another shuffler leaves.
    home.feed(Event::Disconnected { peer: key(1) });
    home.meet(key(1), SHUFFLER);
    home.ask(key(3), resign(job.job), Bytes::new());
    let epoch = newest_epoch(&mut home).expect("a new epoch");
    assert!(!named(&epoch).contains(&key(1)), "a shuffler that was given up is chosen again");
}

/// A worker's message that a task failed.
fn failure(job: JobId, task: u32, cause: Cause) -> Request {
    let why = "it fails".to_owned();
    Request::Failed(Failure { job, stage: StageId(0), task: TaskId(task), document: None, why, cause })
}

#[test]
fn failures_reported_by_strangers_do_not_end_a_job() {
    let (mut home, job) = home();
    home.meet(key(3), WORKER);
    for _ in 0..20 {
        home.ask(key(9), failure(job.job, 0, Cause::Job), Bytes::new());
    }
    assert_eq!(home.ended(), None);
}

#[test]
fn failures_on_one_worker_do_not_end_a_job_while_others_can_try() {
    let (mut home, job) = home();
    (3..6).for_each(|worker| home.meet(key(worker), WORKER));
    for _ in 0..20 {
        home.ask(key(3), failure(job.job, 0, Cause::Job), Bytes::new());
    }
    assert_eq!(home.ended(), None);
    // Four tries among three workers: at most two each.
    home.ask(key(4), failure(job.job, 0, Cause::Job), Bytes::new());
    home.ask(key(5), failure(job.job, 0, Cause::Job), Bytes::new());
    assert!(matches!(home.ended(), Some(Outcome::Failed(_))));
}

#[test]
fn workers_that_have_left_are_not_waited_for() {
    let (mut home, job) = home();
    for worker in 3..8 {
        home.meet(key(worker), WORKER);
        home.ask(key(worker), failure(job.job, 1, Cause::Job), Bytes::new());
        if worker == 4 {
            (1..3).for_each(|shuffler| {
                home.ask(key(shuffler), commit(job.job, 0, &[attempt(1, "done after all")]), Bytes::new());
            });
        }
    }
    (4..8).for_each(|worker| home.feed(Event::Disconnected { peer: key(worker) }));
    for _ in 0..4 {
        assert_eq!(home.ended(), None);
        home.ask(key(3), failure(job.job, 0, Cause::Job), Bytes::new());
    }
    assert!(matches!(home.ended(), Some(Outcome::Failed(_))));
}

#[test]
fn workers_that_give_too_little_memory_are_not_waited_for() {
    let (mut home, job) = home();
    for worker in 3..11 {
        home.meet(key(worker), WORKER);
        if worker != 3 {
            home.ask(key(worker), Request::Decline { job: job.job, memory: 1 << 10, minor: None }, Bytes::new());
        }
    }
    for _ in 0..4 {
        assert_eq!(home.ended(), None);
        home.ask(key(3), failure(job.job, 0, Cause::Job), Bytes::new());
    }
    assert!(matches!(home.ended(), Some(Outcome::Failed(why)) if why == "it fails"));
}

#[test]
fn workers_that_never_take_part_delay_a_failure_by_a_few_seconds_only() {
    let (mut home, job) = home();
    (3..11).for_each(|worker| home.meet(key(worker), WORKER));
    let mut attempts = 0;
    while home.ended().is_none() {
        home.ask(key(3), failure(job.job, 0, Cause::Job), Bytes::new());
        home.wait(Duration::from_secs(1));
        attempts += 1;
        assert!(attempts < 10, "the only worker that takes it tries for ever");
    }
    assert!(attempts > 4, "the others had no time to try it");
}

#[test]
fn workers_that_take_part_have_the_time_limit_of_a_task_to_try_one_that_failed_elsewhere() {
    let (mut home, job) = home();
    (3..5).for_each(|worker| home.meet(key(worker), WORKER));
    home.ask(key(4), Request::Summary(ShardRef { job: job.job, stage: StageId(0), shard: ShardId(0) }), Bytes::new());
    let limit = manifest().stages[0].limits.time();
    for _ in 0..limit.as_secs() {
        home.ask(key(3), failure(job.job, 0, Cause::Job), Bytes::new());
        home.wait(Duration::from_secs(1));
        assert_eq!(home.ended(), None, "worker 4 may be busy until then");
    }
    for _ in 0..4 {
        home.wait(Duration::from_secs(1));
        home.ask(key(3), failure(job.job, 0, Cause::Job), Bytes::new());
    }
    assert!(matches!(home.ended(), Some(Outcome::Failed(_))), "the others had their time");
}

#[test]
fn a_job_that_no_worker_can_run_ends_with_their_reason() {
    let (mut home, job) = home();
    (3..5).for_each(|worker| home.meet(key(worker), WORKER));
    let mut faults = |workers: std::ops::Range<u8>, seconds: u64| {
        for _ in 0..seconds {
            workers.clone().for_each(|worker| {
                // Many failures at once count as one fault: a module is missing.
                (0..TASKS)
                    .for_each(|task| drop(home.ask(key(worker), failure(job.job, task, Cause::Worker), Bytes::new())));
            });
            home.wait(Duration::from_secs(2));
        }
        home.ended()
    };
    assert_eq!(faults(3..4, 20), None, "worker 4 may be able to");
    assert_eq!(faults(4..5, 2), None, "a fault may pass");
    let ended = faults(4..5, 4);
    assert!(matches!(&ended, Some(Outcome::Failed(why)) if why.contains("it fails")), "{ended:?}");
}

#[test]
fn a_job_for_which_every_worker_is_too_old_ends_with_both_versions() {
    let (mut home, job) = home();
    (3..5).for_each(|worker| home.meet(key(worker), WORKER));
    for (worker, minor) in [(3, 0), (4, 1)] {
        home.ask(key(worker), Request::Decline { job: job.job, memory: 1 << 30, minor: Some(minor) }, Bytes::new());
    }
    (0..5).for_each(|_| home.wait(Duration::from_secs(2)));
    match home.ended() {
        Some(Outcome::Failed(why)) => assert!(why.contains("the newest speaks 2.1: update the nodes"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// The number of workers in the last progress report.
fn workers(home: &mut Peer) -> Option<u32> {
    home.wait(Duration::from_millis(200));
    home.actions().into_iter().rev().find_map(|action| match action {
        Action::Notify(Notice::Progress(progress)) => Some(progress.workers),
        _ => None,
    })
}

#[test]
fn a_home_without_workers_learns_which_workers_run_its_jobs() {
    let (mut home, job) = home();
    home.meet(key(3), WORKER);
    assert_eq!(workers(&mut home), Some(0));
    let topic = Topic::of_shard(ShardRef { job: job.job, stage: StageId(0), shard: ShardId(0) });
    let mut home = Peer::new(0, NOTHING);
    home.meet(key(3), WORKER);
    home.submit(manifest());
    let listens = |action: &Action, wanted: bool| matches!(action, Action::Net(NetAction::Subscribe { topic: t, on }) if *t == topic && *on == wanted);
    assert!(home.actions().iter().any(|action| listens(action, true)));
    let claim = Claim {
        job: job.job,
        stage: StageId(0),
        shard: ShardId(0),
        number: 1,
        holds: vec![],
        done: vec![],
        finished: 0,
    };
    home.feed(Event::Gossip { from: key(3), message: Gossip::Claims(vec![claim]) });
    assert_eq!(workers(&mut home), Some(1));
    // For a stage with several shards, each worker asks about its own.
    home.ask(key(4), Request::Summary(ShardRef { job: job.job, stage: StageId(0), shard: ShardId(0) }), Bytes::new());
    assert_eq!(workers(&mut home), Some(2));
    home.feed(Event::Cancel { job: job.job, key: Box::new(owner()) });
    assert!(home.actions().iter().any(|action| listens(action, false)), "it is still subscribed after the job's end");
}

#[test]
fn faults_of_workers_do_not_count_against_a_task() {
    let (mut home, job) = home();
    home.meet(key(3), WORKER);
    for _ in 0..20 {
        home.ask(key(3), failure(job.job, 0, Cause::Worker), Bytes::new());
    }
    assert_eq!(home.ended(), None);
}

#[test]
fn a_restarted_owner_counts_as_holding_nothing() {
    let (mut home, job) = home();
    let all = attempts(0..TASKS, "all");
    (1..3).for_each(|shuffler| {
        home.ask(key(shuffler), commit(job.job, 0, &all), Bytes::new());
    });
    assert_eq!(done(&mut home), TASKS);
    // Peer 1 was restarted so quickly that no other peer noticed.
    home.ask(key(1), greeting(job.job, 0, 2), Bytes::new());
    home.wait(Duration::from_secs(5));
    assert_eq!(done(&mut home), 0, "what it held is lost, and must be computed again");
    // A message of its previous run arrives late.
    home.ask(key(1), commit(job.job, 0, &all), Bytes::new());
    assert_eq!(done(&mut home), 0);
}

#[test]
fn lost_acceptances_are_revoked_once_their_tasks_give_different_output() {
    for again in ["all", "something else"] {
        let (mut home, job) = home();
        let all = |what: &str| attempts(0..TASKS, what);
        (1..3).for_each(|shuffler| {
            home.ask(key(shuffler), commit(job.job, 0, &all("all")), Bytes::new());
        });
        accepted(&mut home);
        // Peer 1 was restarted, and most of its tasks were run again.
        let restarted = |epoch, attempts: &[AttemptId]| {
            Request::Commit(Commit { opened: 2, ..committed(job.job, epoch, attempts) })
        };
        home.ask(key(1), restarted(0, &[]), Bytes::new());
        home.wait(Duration::from_secs(3));
        home.actions();
        home.ask(key(1), restarted(0, &all(again)[1..]), Bytes::new());
        let epoch = newest_epoch(&mut home);
        if again == "all" {
            assert_eq!(epoch, None, "a new epoch without a change");
            continue;
        }
        let epoch = epoch.expect("an epoch of a new generation");
        let generations: Vec<(u32, u32)> = epoch.generations.iter().map(|g| (g.reads.0, g.writes.0)).collect();
        assert_eq!((epoch.number, generations), (1, vec![(0, 1), (1, 1)]));
        // Whatever both hold under the new epoch is accepted.
        (1..3).for_each(|shuffler| {
            home.ask(key(shuffler), restarted(1, &all("something else")), Bytes::new());
        });
        let accepted = accepted(&mut home);
        assert_eq!(accepted.len(), 2);
        assert!(accepted.iter().all(|(_, attempts)| *attempts == all("something else")), "{accepted:?}");
    }
}

#[test]
fn lost_tasks_are_reopened_while_other_tasks_continue() {
    let (mut home, job) = home();
    (1..3).for_each(|shuffler| {
        home.ask(key(shuffler), commit(job.job, 0, &[attempt(0, "it")]), Bytes::new());
    });
    home.ask(key(1), greeting(job.job, 0, 2), Bytes::new());
    home.actions();
    for task in 1..TASKS {
        home.wait(Duration::from_secs(1));
        home.ask(key(2), commit(job.job, 0, &[attempt(task, "it")]), Bytes::new());
    }
    let again =
        |a: &Action| matches!(a, Action::Notify(Notice::Log(text)) if text.contains("1 tasks are computed again"));
    assert!(home.actions().iter().any(again));
}

#[test]
fn workers_learn_that_a_lost_owner_may_have_acknowledged_uncommitted_attempts() {
    let (mut home, job) = home();
    home.ask(key(1), resign(job.job), Bytes::new());
    home.actions();
    home.wait(Duration::from_secs(5));
    let reopened = home.actions().into_iter().rev().find_map(|action| match action {
        Action::Net(NetAction::Publish { message: Gossip::Jobs(news), .. }) => match &news[..] {
            [JobNews::Lives(announce)] => Some(announce.reopened),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(reopened, Some(1));
}

/// The number of done map tasks, from the next announcement.
fn done(home: &mut Peer) -> u32 {
    home.actions();
    home.wait(Duration::from_secs(3));
    let announced = home.actions().into_iter().rev().find_map(|action| match action {
        Action::Net(NetAction::Publish { message: Gossip::Jobs(news), .. }) => match &news[..] {
            [JobNews::Lives(announce)] => Some(announce.done[0]),
            _ => None,
        },
        _ => None,
    });
    announced.expect("an announcement")
}

/// Lets time pass while the given shufflers answer all requests; returns the newest epoch.
fn wait_while_answering(home: &mut Peer, time: Duration, answering: &[PeerKey]) -> Option<Epoch> {
    let mut newest = None;
    for _ in 0..time.as_secs() {
        home.wait(Duration::from_secs(1));
        for (id, to, request) in home.requests() {
            if let Request::NewEpoch(epoch) = request {
                newest = epoch.open().ok();
            }
            if answering.contains(&to) {
                home.answer(id, Response::Ok);
            }
        }
    }
    newest
}

#[test]
fn a_stalled_shuffler_is_replaced_while_others_make_progress() {
    let (mut home, job) = home();
    let both = [key(1), key(2)];
    let epoch = wait_while_answering(&mut home, Duration::from_secs(200), &both).expect("a message to the shufflers");
    assert_eq!(epoch.number, 0, "a shuffler was replaced although all tasks were merely slow");
    home.ask(key(2), commit(job.job, 0, &[attempt(0, "done")]), Bytes::new());
    let epoch = wait_while_answering(&mut home, Duration::from_secs(80), &both).expect("a message to the shufflers");
    assert!(epoch.number == 1 && epoch.shufflers.iter().all(|s| s.peer != key(1)), "{epoch:?}");
}

#[test]
fn each_epoch_names_the_previous_one() {
    let (mut home, job) = home();
    home.ask(key(1), resign(job.job), Bytes::new());
    let second = newest_epoch(&mut home).expect("a new epoch");
    assert_eq!(second.previous, Some(job.epoch.hash()));
}

#[test]
fn a_shuffler_that_seals_a_wrong_root_is_replaced() {
    let (mut home, job) = home();
    let all = attempts(0..TASKS, "all");
    (1..3).for_each(|shuffler| {
        home.ask(key(shuffler), commit(job.job, 0, &all), Bytes::new());
    });
    let root = segment::root(&all.iter().map(|attempt| attempt.digest).collect::<Vec<_>>());
    let mut seal = |from: PeerKey, root: Hash| -> Vec<Response> {
        let seal = |partition| Request::Sealed(Sealed { job: job.job, stage: StageId(0), epoch: 0, partition, root });
        PartitionId::below(PARTITIONS).filter_map(|p| home.ask(from, seal(p), Bytes::new())).collect()
    };
    assert!(seal(key(1), root).contains(&Response::Ok));
    assert!(!seal(key(2), digest("another root")).contains(&Response::Ok));
    let epoch = newest_epoch(&mut home).expect("a new epoch");
    assert_eq!(epoch.shufflers.iter().map(|s| s.peer).collect::<Vec<_>>(), [key(1)]);
}

#[test]
fn a_job_that_needs_more_memory_than_any_worker_gives_ends_with_advice() {
    for all in [false, true] {
        let mut home = Peer::new(0, NOTHING);
        for worker in [4, 5] {
            home.meet(key(worker), WORKER);
        }
        let job = home.submit(manifest()).job;
        for worker in [4, 5].into_iter().take(if all { 2 } else { 1 }) {
            home.ask(key(worker), Request::Decline { job, memory: 5 << 20, minor: None }, Bytes::new());
        }
        home.wait(Duration::from_secs(5));
        let ended = home.actions().into_iter().find_map(|action| match action {
            Action::Notify(Notice::Ended { outcome: Outcome::Failed(why), .. }) => Some(why),
            _ => None,
        });
        assert_eq!(ended.is_some(), all, "{ended:?}");
        assert!(ended.is_none_or(|why| why.contains("the most given is 5 MiB") && why.contains("--task-memory")));
    }
}

#[test]
fn reachable_tabs_shuffle_if_no_native_peer_does() {
    let chosen = |peers: &[(u8, Kind, bool)]| -> Vec<PeerKey> {
        let mut home = Peer::new(0, NOTHING);
        for &(number, kind, reachable) in peers {
            let addresses = if reachable { vec!["/ip4/192.0.2.1/tcp/1".to_owned()] } else { vec![] };
            home.feed(Event::Connected { peer: key(number), network: None });
            let hello = Request::Hello(Advert { kind, addresses, ..advert(SHUFFLER) });
            home.ask(key(number), hello, Bytes::new());
        }
        home.feed(Event::Submit(Box::new(Submission { manifest: manifest(), key: owner(), kept: false })));
        let announced = home.actions().into_iter().find_map(|action| match action {
            Action::Net(NetAction::Publish { message: Gossip::Jobs(news), .. }) => {
                news.into_iter().find_map(|news| match news {
                    JobNews::Lives(announce) => Some(announce),
                    JobNews::Ended(_) => None,
                })
            }
            _ => None,
        });
        let epoch: Epoch = announced.expect("an announcement").epoch.open().expect("an epoch");
        epoch.shufflers.iter().map(|s| s.peer).collect()
    };
    let both = |a, b| BTreeSet::from([key(a), key(b)]);
    assert_eq!(chosen(&[(1, Kind::Tab, true), (2, Kind::Node, true)]), [key(2)]);
    assert_eq!(BTreeSet::from_iter(chosen(&[(1, Kind::Tab, true), (2, Kind::Tab, true)])), both(1, 2));
    assert_eq!(chosen(&[(1, Kind::Tab, false), (2, Kind::Tab, true)]), [key(2)]);
    assert_eq!(chosen(&[(1, Kind::Tab, false)]), [key(0)]);
}

#[test]
fn a_restarted_home_serves_its_manifest_before_its_log_is_written() {
    let mut home = Peer::new(0, NOTHING);
    home.meet(key(1), SHUFFLER);
    home.feed(Event::Submit(Box::new(Submission { manifest: manifest(), key: owner(), kept: true })));
    let first = home.actions().into_iter().find_map(|action| match action {
        Action::Store(StoreAction::Persist { bytes, binding, .. }) => Some((bytes, binding)),
        _ => None,
    });
    let (log, binding) = first.expect("its log begins");
    assert!(!binding, "the first batch is binding, although losing it contradicts nothing");
    let state = replay(&log).state.expect("the log is whole");
    let job = state.job();
    let asked = |home: &mut Peer| home.ask(key(1), Request::Manifest { job }, Bytes::new());
    let mut again = Peer::new(0, NOTHING);
    assert!(
        matches!(asked(&mut again), Some(Response::Missing)),
        "a peer that does not know the job serves its manifest"
    );
    again.feed(Event::Resume(Box::new(Resumption { state, key: owner(), lost: vec![] })));
    let written = again.actions().into_iter().find_map(|action| match action {
        Action::Store(StoreAction::Persist { number, binding, .. }) => Some((number, binding)),
        _ => None,
    });
    assert_eq!(written, Some((1, true)), "the new epoch survives the loss of power");
    assert!(
        matches!(asked(&mut again), Some(Response::Manifest(_))),
        "without the manifest, the peer that asks takes the job for over"
    );
}
