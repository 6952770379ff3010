//! What an authority tells workers about each other.

use std::time::Duration;

use bytes::Bytes;
use webmesh_protocol::message::{Request, Response};
use webmesh_protocol::{PeerKey, ShardId, ShardRef, StageId};

use super::peer::{NOTHING, Peer, SHUFFLER, WORKER, attempt, commit, key, manifest};

/// The workers that a home names to worker 3 as those that have finished something.
fn proven(home: &mut Peer, of: ShardRef) -> Option<Vec<PeerKey>> {
    match home.ask(key(3), Request::Summary(of), Bytes::new()) {
        Some(Response::Summary(summary)) => summary.proven,
        other => panic!("no summary: {other:?}"),
    }
}

#[test]
fn a_home_names_the_workers_of_which_a_result_was_accepted_and_no_others() {
    let mut home = Peer::new(0, NOTHING);
    home.meet(key(1), SHUFFLER);
    home.meet(key(2), SHUFFLER);
    home.meet(key(3), WORKER);
    let job = home.submit(manifest()).job;
    let of = ShardRef { job, stage: StageId(0), shard: ShardId(0) };
    assert_eq!(proven(&mut home, of), Some(vec![]));
    // Its author is peer 50; one of two owners is not enough.
    home.ask(key(1), commit(job, 0, &[attempt(0, "whole")]), Bytes::new());
    home.wait(Duration::from_millis(50));
    assert_eq!(proven(&mut home, of), Some(vec![]));
    home.ask(key(2), commit(job, 0, &[attempt(0, "whole")]), Bytes::new());
    home.wait(Duration::from_millis(50));
    assert_eq!(proven(&mut home, of), Some(vec![key(50)]));
    // In every stage of the job.
    assert_eq!(proven(&mut home, ShardRef { stage: StageId(1), ..of }), Some(vec![key(50)]));
}
