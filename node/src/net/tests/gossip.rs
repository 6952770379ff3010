//! Gossip between peers.

use std::collections::BTreeSet;

use webmesh_protocol::message::{Claim, Gossip, Topic};
use webmesh_protocol::{JobId, ShardId, StageId};

use super::*;

pub(super) fn claim(finished: u32) -> (Topic, Gossip) {
    let job = JobId(hash("job").0);
    let (stage, shard) = (StageId(0), ShardId(0));
    let claim = Claim { job, stage, shard, holds: vec![], done: vec![], finished, number: 0 };
    (claim.topic(), Gossip::Claims(vec![claim]))
}

#[tokio::test]
async fn gossip_reaches_a_peer_at_the_other_end_of_a_line() {
    let (one, mut two, mut three) = (Peer::start().await, Peer::start().await, Peer::start().await);
    let (topic, _) = claim(0);
    for peer in [&one, &two, &three] {
        peer.net.subscribe(topic, true).await;
    }
    two.dial(&one, "tcp").await;
    two.dial(&three, "quic").await;
    // Gossipsub builds its mesh at its own pace: published repeatedly until received.
    let received = async {
        let mut again = tokio::time::interval(Duration::from_millis(100));
        for n in 0.. {
            again.tick().await;
            one.net.publish(topic, &claim(n).1).await;
            while let Ok(event) = three.events.try_recv() {
                if let NetEvent::Gossip { from, message } = event {
                    return (from, message);
                }
            }
        }
        unreachable!("it is said for ever")
    };
    let (from, received) = tokio::time::timeout(PATIENCE, received).await.unwrap();
    assert_eq!(from, one.key());
    assert!(matches!(received, Gossip::Claims(_)));
    assert!(three.net.counters().gossip_delivered >= 1);
}

#[tokio::test]
async fn a_message_without_subscribers_is_kept_for_the_next_one() {
    let (one, mut two) = (Peer::start().await, Peer::start().await);
    let (topic, message) = claim(42);
    one.net.publish(topic, &message).await;
    two.net.subscribe(topic, true).await;
    two.dial(&one, "tcp").await;
    let received = two.wait(|e| if let NetEvent::Gossip { message, .. } = e { Some(message) } else { None }).await;
    assert_eq!(received, message);
    assert_eq!(one.net.counters().gossip_published, 1);
}

#[tokio::test]
async fn a_message_on_the_wrong_topic_is_refused() {
    let (one, mut two) = (Peer::start().await, Peer::start().await);
    let (topic, message) = claim(1);
    for topic in [topic, Topic::Jobs] {
        two.net.subscribe(topic, true).await;
        one.net.subscribe(topic, true).await;
    }
    two.dial(&one, "tcp").await;
    one.net.publish(Topic::Jobs, &message).await;
    let (_, right) = claim(2);
    let received = async {
        // Publish on the right topic only after the wrong one has been refused.
        while two.net.counters().gossip_refused == 0 {
            tokio::task::yield_now().await;
        }
        one.net.publish(topic, &right).await;
        two.wait(|e| if let NetEvent::Gossip { message, .. } = e { Some(message) } else { None }).await
    };
    assert_eq!(tokio::time::timeout(PATIENCE, received).await.unwrap(), right);
}

#[tokio::test]
async fn every_peer_of_a_star_is_heard_by_every_other() {
    let hub = Peer::start().await;
    let (topic, _) = claim(0);
    hub.net.subscribe(topic, true).await;
    let mut others = Vec::new();
    for _ in 0..19 {
        let mut peer = Peer::start().await;
        peer.net.subscribe(topic, true).await;
        peer.dial(&hub, "tcp").await;
        others.push((peer, BTreeSet::new()));
    }
    let count = others.len();
    let all_received = async {
        let mut again = tokio::time::interval(Duration::from_millis(300));
        for n in 0.. {
            again.tick().await;
            for (peer, _) in &others {
                peer.net.publish(topic, &claim(n).1).await;
            }
            for (peer, received) in &mut others {
                while let Ok(event) = peer.events.try_recv() {
                    if let NetEvent::Gossip { from, .. } = event {
                        received.insert(from);
                    }
                }
            }
            if others.iter().all(|(_, received)| received.len() == count - 1) {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, all_received).await.expect("every peer hears all others within a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flooder_is_silenced_and_others_are_heard() {
    let (flooder, honest) = (Peer::start().await, Peer::start().await);
    // So low that a busy machine can exceed it.
    let mut peer = Peer::with(NetConfig { gossip_of_source: 10.0, ..quiet() }).await;
    let (topic, _) = claim(0);
    for peer in [&flooder, &honest, &peer] {
        peer.net.subscribe(topic, true).await;
    }
    peer.dial(&flooder, "tcp").await;
    peer.dial(&honest, "tcp").await;
    let bad = flooder.key();
    let flood = tokio::spawn(async move {
        for n in 0.. {
            flooder.net.publish(topic, &claim(n).1).await;
            // Otherwise it would never end where the network does.
            tokio::task::yield_now().await;
        }
    });
    // The penalty grows with the square of the number of refused messages, until everything from the peer is ignored.
    let silenced = async {
        let mut before = 0;
        let mut again = tokio::time::interval(Duration::from_millis(500));
        loop {
            again.tick().await;
            while peer.events.try_recv().is_ok() {}
            let counters = peer.net.counters();
            if counters.gossip_flooded > 0 && counters.gossip_delivered == before {
                return;
            }
            before = counters.gossip_delivered;
        }
    };
    tokio::time::timeout(PATIENCE, silenced).await.expect("the flooder is silenced");
    assert!(!flood.is_finished(), "it still floods");
    // Published repeatedly until received: this machine has to produce the flood, too.
    let key = honest.key();
    let again = tokio::spawn(async move {
        let mut again = tokio::time::interval(Duration::from_millis(200));
        for n in 0.. {
            again.tick().await;
            honest.net.publish(topic, &claim(n).1).await;
        }
    });
    let from =
        peer.wait(|e| if let NetEvent::Gossip { from, .. } = e { Some(from).filter(|f| *f != bad) } else { None });
    assert_eq!(from.await, key);
    flood.abort();
    again.abort();
}
