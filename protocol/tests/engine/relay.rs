//! What a relay does for peers that are connected through it only.

use std::collections::BTreeSet;

use webmesh_protocol::io::{Action, NetAction};
use webmesh_protocol::limits;
use webmesh_protocol::membership::Roles;
use webmesh_protocol::message::Topic;

use super::peer::{NOTHING, Peer, WORKER};

/// The number of claim topics that a peer subscribes to when it starts.
fn subscribed_at_start(roles: Roles) -> usize {
    let subscribed = |action| match action {
        Action::Net(NetAction::Subscribe { topic: Topic::Claims(n), on: true }) => Some(n),
        _ => None,
    };
    Peer::new(1, roles).actions().into_iter().filter_map(subscribed).collect::<BTreeSet<u8>>().len()
}

#[test]
fn only_a_relay_subscribes_to_all_claims() {
    for roles in [NOTHING, WORKER] {
        assert_eq!(subscribed_at_start(roles), 0);
        assert_eq!(subscribed_at_start(Roles { relay: true, ..roles }), usize::from(limits::CLAIM_TOPICS));
    }
}
