//! How a worker discovers the home of a job.

use std::time::Duration;

use bytes::Bytes;
use webmesh_protocol::io::{Action, Event, NetAction};
use webmesh_protocol::membership::Advert;
use webmesh_protocol::message::{Gossip, JobNews, PeerStatus, Request, Response};
use webmesh_protocol::{PeerKey, limits};

use super::peer::{NOTHING, Peer, WORKER, advert, announced, key, manifest};

/// The advert of a peer that can be dialled.
fn reachable() -> Advert {
    Advert { addresses: vec!["/ip4/192.0.2.1/tcp/1".to_owned()], ..advert(NOTHING) }
}

fn told(peers: impl IntoIterator<Item = PeerKey>) -> Response {
    let status = |peer| PeerStatus { peer, advert: reachable(), connected: true };
    Response::Peers(peers.into_iter().map(status).collect())
}

/// The peers that `peer` asked for homes since the last call, and those that it sent a hello.
fn asked_and_contacted(peer: &mut Peer) -> (Vec<PeerKey>, Vec<PeerKey>) {
    let (mut asked, mut greeted) = (Vec::new(), Vec::new());
    for (id, to, request) in peer.requests() {
        match request {
            Request::Homes { .. } => asked.push((id, to)),
            Request::Hello(_) => greeted.push(to),
            _ => {}
        }
    }
    (asked.iter().map(|&(_, to)| to).collect(), greeted)
}

/// Connects `neighbour` to `peer`, which sends it a hello and gets a response.
fn connect(peer: &mut Peer, neighbour: PeerKey) {
    peer.feed(Event::Connected { peer: neighbour, network: None });
    let requests = peer.requests();
    let greeting = requests.iter().find(|(_, to, request)| *to == neighbour && matches!(request, Request::Hello(_)));
    let id = greeting.expect("a greeting").0;
    peer.answer(id, Response::Hello(advert(NOTHING)));
}

/// A worker that has long been connected to peer 5.
fn neighbour_of_five() -> Peer {
    let mut worker = Peer::new(3, WORKER);
    connect(&mut worker, key(5));
    worker.wait(limits::HOMES_ASKED_EVERY + Duration::from_secs(1));
    worker.actions();
    worker
}

fn gossip_a_job(peer: &mut Peer) -> PeerKey {
    let job = announced(&manifest(), 0, &[key(1)]);
    let home = job.home;
    peer.feed(Event::Gossip { from: home, message: Gossip::Jobs(vec![JobNews::Lives(job)]) });
    home
}

#[test]
fn a_late_worker_asks_its_first_neighbour_for_homes_and_contacts_them() {
    let mut late = Peer::new(3, WORKER);
    connect(&mut late, key(5));
    let requests = late.requests();
    let [(id, to, Request::Homes { wanted: None })] = requests[..] else { panic!("{requests:?}") };
    assert_eq!(to, key(5));
    late.answer(id, told([key(0)]));
    let actions = late.actions();
    let learnt = |a: &Action| matches!(a, Action::Net(NetAction::Learn { peer, addresses }) if *peer == key(0) && *addresses == reachable().addresses);
    assert!(actions.iter().any(learnt), "{actions:?}");
    let greeted = |a: &Action| matches!(a, Action::Net(NetAction::Request { to, request: Request::Hello(_), .. }) if *to == key(0));
    assert!(actions.iter().any(greeted), "{actions:?}");
}

#[test]
fn a_worker_asks_a_neighbour_for_an_unknown_home_but_not_again_at_once() {
    let mut worker = neighbour_of_five();
    gossip_a_job(&mut worker);
    assert_eq!(asked_and_contacted(&mut worker).0, [key(5)]);
    gossip_a_job(&mut worker);
    assert!(asked_and_contacted(&mut worker).0.is_empty());
    worker.wait(limits::HOME_ASKED_EVERY);
    gossip_a_job(&mut worker);
    assert_eq!(asked_and_contacted(&mut worker).0, [key(5)]);
}

#[test]
fn a_worker_that_asks_for_one_home_contacts_no_other() {
    let mut worker = neighbour_of_five();
    let home = gossip_a_job(&mut worker);
    let requests = worker.requests();
    let asked = requests.iter().find(|(_, _, request)| matches!(request, Request::Homes { wanted: Some(_) }));
    worker.answer(asked.expect("a question").0, told((10..200).map(key).chain([home])));
    assert_eq!(asked_and_contacted(&mut worker).1, [home]);
}

#[test]
fn a_worker_that_knows_the_home_of_a_job_asks_no_neighbour() {
    let mut worker = neighbour_of_five();
    worker.feed(Event::Gossip { from: key(0), message: Gossip::Advert(reachable()) });
    worker.actions();
    assert_eq!(gossip_a_job(&mut worker), key(0));
    assert!(asked_and_contacted(&mut worker).0.is_empty());
}

#[test]
fn a_peer_names_homes_with_their_addresses_and_only_those_that_have_any() {
    let mut node = Peer::new(5, NOTHING);
    let home = gossip_a_job(&mut node);
    let homes = |node: &mut Peer, asker| match node.ask(asker, Request::Homes { wanted: None }, Bytes::new()) {
        Some(Response::Peers(peers)) => peers,
        other => panic!("no peers but {other:?}"),
    };
    assert!(homes(&mut node, key(3)).is_empty(), "no address of it is known");
    node.feed(Event::Gossip { from: home, message: Gossip::Advert(reachable()) });
    let told = homes(&mut node, key(3));
    assert_eq!(told.iter().map(|status| status.peer).collect::<Vec<_>>(), [home]);
    assert_eq!(told[0].advert, reachable());
    assert!(homes(&mut node, home).is_empty(), "it knows itself");
}

#[test]
fn a_worker_contacts_few_of_the_homes_that_a_liar_names() {
    let mut late = Peer::new(3, WORKER);
    connect(&mut late, key(5));
    let id = late
        .requests()
        .into_iter()
        .find(|(_, _, request)| matches!(request, Request::Homes { .. }))
        .expect("a question")
        .0;
    late.answer(id, told((10..200).map(key)));
    assert_eq!(asked_and_contacted(&mut late).1.len(), limits::HOMES);
}

#[test]
fn a_worker_does_not_ask_for_an_invented_home() {
    let mut worker = neighbour_of_five();
    let mut job = announced(&manifest(), 0, &[key(1)]);
    job.home = key(8);
    worker.feed(Event::Gossip { from: key(9), message: Gossip::Jobs(vec![JobNews::Lives(job)]) });
    assert!(asked_and_contacted(&mut worker).0.is_empty());
}

#[test]
fn a_pending_hello_is_not_repeated() {
    let mut late = Peer::new(3, WORKER);
    connect(&mut late, key(5));
    for greeted in [vec![key(0)], vec![]] {
        let requests = late.requests();
        let id = requests
            .into_iter()
            .find(|(_, _, request)| matches!(request, Request::Homes { .. }))
            .expect("a question")
            .0;
        late.answer(id, told([key(0)]));
        assert_eq!(asked_and_contacted(&mut late).1, greeted);
        late.wait(limits::HOMES_ASKED_EVERY);
        late.actions();
        gossip_a_job(&mut late);
    }
}
