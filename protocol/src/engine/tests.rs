use bytes::Bytes;

use super::*;
use crate::epoch::{self, Epoch};
use crate::id::{Hash, PeerKey};
use crate::io::Token;
use crate::membership::{Kind, Roles};
use crate::message::{Announce, JobNews};
use crate::sign::Keypair;

fn engine() -> Engine {
    let roles = Roles { worker: true, ..Roles::default() };
    let advert =
        Advert { kind: Kind::Node, roles, threads: 1, weight: 1, addresses: vec![], agent: String::new(), minor: 0 };
    Engine::new(Config {
        me: PeerKey([1; 32]),
        started: 1,
        advert,
        memory: Memory::native(u64::MAX, u64::MAX),
        interface: 1,
        confirms: true,
    })
}

/// The announcement of a job without its manifest.
fn announce(number: u32, home: PeerKey) -> Announce {
    let job = JobId(Hash::of(&number.to_le_bytes()).0);
    let key = Keypair::from_secret([2; 32]);
    let shufflers = vec![epoch::Shuffler { peer: home, weight: 1 }];
    let epoch = key.sign(&Epoch { job, number: 0, previous: None, shufflers, generations: vec![] });
    Announce { job, owner: key.public(), home, manifest: None, epoch, done: vec![], tasks: vec![], reopened: 0, age: 0 }
}

#[test]
fn an_offer_of_a_rejected_job_leaves_no_place_behind() {
    let mut engine = engine();
    let from = PeerKey([3; 32]);
    let most = limits::JOBS_OF_OWNER as u32;
    for number in 0..most {
        let message = Gossip::Jobs(vec![JobNews::Lives(announce(number, from))]);
        engine.handle(Time(0), Event::Gossip { from, message });
    }
    for number in most..2 * most {
        // The named owner signed nothing.
        let announce = Announce { owner: PeerKey([4; 32]), ..announce(number, from) };
        let request = Request::Offer { announce, slot: 0, of: 1 };
        engine.handle(Time(1), Event::Request { from, token: Token(u64::from(number)), request, body: Bytes::new() });
    }
    assert_eq!((engine.load().jobs, engine.worker.places()), (limits::JOBS_OF_OWNER, 0));
}
