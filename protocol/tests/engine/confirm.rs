//! Tasks that fail at other workers, and are tried by the home of the job before that ends it.

use std::time::Duration;

use bytes::Bytes;
use webmesh_protocol::io::{Action, BlobAction, Event, NetAction, NotStored, RunAction, StoreAction, Work};
use webmesh_protocol::io::{TaskFailure, TaskOutput, TaskResult};
use webmesh_protocol::manifest::Sink;
use webmesh_protocol::membership::Roles;
use webmesh_protocol::message::{Cause, Failure, Outcome, Output, Request, Response};
use webmesh_protocol::segment::Attempt;
use webmesh_protocol::{Hash, JobId, StageId, TaskId, version};

use super::peer::{NOTHING, Peer, SHUFFLER, WORKER, key, manifest};

/// A home with these roles and a job that peers 1 and 2 shuffle and peers 3 to 6 may work on.
fn home(roles: Roles) -> (Peer, JobId) {
    let mut home = Peer::confirming(0, roles);
    (1..3).for_each(|shuffler| home.meet(key(shuffler), SHUFFLER));
    (3..7).for_each(|worker| home.meet(key(worker), WORKER));
    let job = home.submit(manifest()).job;
    (home, job)
}

/// Peers 3 to 6 report that a task failed: all tries of a task.
fn report(home: &mut Peer, job: JobId, task: u32) {
    for worker in 3..7 {
        let (why, cause) = ("they say".to_owned(), Cause::Job);
        let failure = Failure { job, stage: StageId(0), task: TaskId(task), document: None, why, cause };
        home.ask(key(worker), Request::Failed(failure), Bytes::new());
    }
}

/// Lets time pass; the home has the module. Returns what it runs, and how the job ended.
fn pass(home: &mut Peer, time: Duration) -> (Vec<Work>, Option<Outcome>) {
    let mut runs = Vec::new();
    let mut ended = None;
    for _ in 0..time.as_millis() / 100 {
        home.wait(Duration::from_millis(100));
        ended = ended.or(home.ended());
        for action in home.actions() {
            runs.extend(carry_out(home, action));
        }
    }
    (runs, ended)
}

/// Carries out an action of the home's; returns what it runs.
fn carry_out(home: &mut Peer, action: Action) -> Option<Work> {
    match action {
        Action::Store(StoreAction::Blobs(BlobAction::Load { hash })) => {
            home.feed(Event::BlobLoaded { hash, bytes: Some(Bytes::from_static(b"module")) });
            None
        }
        Action::Net(NetAction::Request { id, to, request: Request::Failed(failure), .. }) if to == key(0) => {
            let answer = home.ask(to, Request::Failed(failure), Bytes::new());
            home.answer(id, answer.unwrap_or(Response::Ok));
            None
        }
        Action::Run(RunAction::Start(work)) => Some(*work),
        _ => None,
    }
}

/// All tasks of a run end in the same way.
fn finish(home: &mut Peer, run: &Work, outcome: &Result<TaskOutput, TaskFailure>) {
    let result = |task| TaskResult { task, elapsed: Duration::ZERO, outcome: outcome.clone() };
    let results = run.tasks.iter().map(result).collect();
    home.feed(Event::RunProgress { run: run.run, results, last: true });
}

/// The first task and the number of tasks of each run.
fn tasks(runs: &[Work]) -> Vec<(u32, u32)> {
    runs.iter().map(|run| (run.tasks.start.0, run.tasks.len)).collect()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_failure_that_only_others_report_does_not_end_a_job() {
    let (mut home, job) = home(NOTHING);
    assert_eq!(pass(&mut home, SECOND).0.len(), 0, "a home that does not work runs nothing unless it has to");
    report(&mut home, job, 1);
    let (runs, ended) = pass(&mut home, SECOND);
    assert_eq!((tasks(&runs), ended), (vec![(1, 1)], None));
    let written = TaskOutput::Shuffle(Attempt::cut(b"", &[0; 9], 8).expect("an attempt"));
    finish(&mut home, &runs[0], &Ok(written));
    home.wait(SECOND);
    let pushed = home.requests().into_iter().filter(|(_, _, request)| matches!(request, Request::Push(_)));
    assert_eq!(pushed.count(), 2, "its output goes to both shufflers");
    // The same peers cannot end the job with further reports either.
    report(&mut home, job, 1);
    assert_eq!(home.ended(), None);
}

#[test]
fn a_failure_that_the_home_confirms_ends_a_job_with_its_reason() {
    let (mut home, job) = home(NOTHING);
    report(&mut home, job, 1);
    let (runs, _) = pass(&mut home, SECOND);
    let why = TaskFailure { document: None, why: "it fails here, too".to_owned(), cause: Cause::Job };
    finish(&mut home, &runs[0], &Err(why));
    let (_, ended) = pass(&mut home, SECOND);
    assert_eq!(ended, Some(Outcome::Failed("it fails here, too".to_owned())));
}

#[test]
fn a_home_that_does_not_get_to_confirm_a_failure_lets_the_job_end() {
    let (mut home, job) = home(NOTHING);
    report(&mut home, job, 1);
    let (runs, _) = pass(&mut home, SECOND);
    assert_eq!(runs.len(), 1);
    let patience = manifest().stages[0].limits.time() + Duration::from_secs(20);
    let (_, ended) = pass(&mut home, patience);
    assert_eq!(ended, None, "nobody has reported anything since");
    report(&mut home, job, 1);
    assert_eq!(home.ended(), Some(Outcome::Failed("they say".to_owned())));
}

#[test]
fn a_malformed_result_counts_as_a_failed_attempt_of_its_worker() {
    let mut home = Peer::confirming(0, NOTHING);
    (1..3).for_each(|shuffler| home.meet(key(shuffler), SHUFFLER));
    (3..7).for_each(|worker| home.meet(key(worker), WORKER));
    let mut manifest = manifest();
    manifest.stages.truncate(1);
    manifest.stages[0].sink = Sink::Collect;
    manifest.minor = version::MINOR;
    let job = home.submit(manifest).job;
    let bytes = Bytes::from_static(b"no records");
    let output = |task| {
        let digest = Hash::of(&bytes);
        Request::Output(Output { job, stage: StageId(0), task: TaskId(task), digest, root: None, further: vec![] })
    };
    for worker in 3..7 {
        assert_eq!(home.ask(key(worker), output(2), bytes.clone()), None, "the answer waits for the store");
        let result = Err(NotStored::Malformed("no records".to_owned()));
        home.feed(Event::OutputStored { job, task: TaskId(2), result });
        let mut refused = 0;
        for action in home.actions() {
            if let Action::Net(NetAction::Respond { response: Response::Refused(why), .. }) = &action {
                assert_eq!(why, "no records");
                refused += 1;
            }
            carry_out(&mut home, action);
        }
        assert_eq!(refused, 1, "worker {worker} learns why");
    }
    let (runs, ended) = pass(&mut home, SECOND);
    assert_eq!((tasks(&runs), ended), (vec![(2, 1)], None), "the home tries the task itself");
}
