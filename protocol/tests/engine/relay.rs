//! What a relay does for those who are connected through it alone.

use std::collections::BTreeSet;

use webmesh_protocol::io::{Action, NetAction};
use webmesh_protocol::limits;
use webmesh_protocol::membership::Roles;
use webmesh_protocol::message::Topic;

use super::peer::{NOTHING, Peer, WORKER};

/// Topics of claims that the peer listens to from its first moment on.
fn heard_from_the_start(roles: Roles) -> usize {
    let subscribed = |action| match action {
        Action::Net(NetAction::Subscribe { topic: Topic::Claims(n), on: true }) => Some(n),
        _ => None,
    };
    Peer::new(1, roles).actions().into_iter().filter_map(subscribed).collect::<BTreeSet<u8>>().len()
}

#[test]
fn whoever_relays_listens_to_every_claim_and_nobody_else_does() {
    for roles in [NOTHING, WORKER] {
        assert_eq!(heard_from_the_start(roles), 0);
        assert_eq!(heard_from_the_start(Roles { relay: true, ..roles }), usize::from(limits::CLAIM_TOPICS));
    }
}
