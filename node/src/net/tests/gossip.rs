//! Gossip between peers.

use std::collections::BTreeSet;

use webmesh_protocol::JobId;
use webmesh_protocol::message::{Claim, Gossip, Topic};

use super::*;

fn claim(finished: u32) -> (Topic, Gossip) {
    let job = JobId(hash("job").0);
    let claim = Claim { job, stage: 0, shard: 0, holds: vec![], done: vec![], finished, number: 0 };
    (Topic::of_shard(job, 0, 0), Gossip::Claims(vec![claim]))
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
    // Gossipsub connects its mesh at its own pace: said again until it is heard.
    let heard = async {
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
    let (from, heard) = tokio::time::timeout(PATIENCE, heard).await.unwrap();
    assert_eq!(from, one.key());
    assert!(matches!(heard, Gossip::Claims(_)));
    assert!(three.net.counters().gossip_delivered >= 1);
}

#[tokio::test]
async fn a_message_that_nobody_was_there_to_hear_is_kept_for_who_comes() {
    let (one, mut two) = (Peer::start().await, Peer::start().await);
    let (topic, message) = claim(42);
    one.net.publish(topic, &message).await;
    two.net.subscribe(topic, true).await;
    two.dial(&one, "tcp").await;
    let heard = two.wait(|e| if let NetEvent::Gossip { message, .. } = e { Some(message) } else { None }).await;
    assert_eq!(heard, message);
    assert_eq!(one.net.counters().gossip_published, 1);
}

#[tokio::test]
async fn a_message_on_the_wrong_topic_is_not_believed() {
    let (one, mut two) = (Peer::start().await, Peer::start().await);
    let (topic, message) = claim(1);
    for topic in [topic, Topic::Jobs] {
        two.net.subscribe(topic, true).await;
        one.net.subscribe(topic, true).await;
    }
    two.dial(&one, "tcp").await;
    one.net.publish(Topic::Jobs, &message).await;
    let (_, right) = claim(2);
    let heard = async {
        // The right one is published once the wrong one has been refused.
        while two.net.counters().gossip_refused == 0 {
            tokio::task::yield_now().await;
        }
        one.net.publish(topic, &right).await;
        two.wait(|e| if let NetEvent::Gossip { message, .. } = e { Some(message) } else { None }).await
    };
    assert_eq!(tokio::time::timeout(PATIENCE, heard).await.unwrap(), right);
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
    let all_heard = async {
        let mut again = tokio::time::interval(Duration::from_millis(300));
        for n in 0.. {
            again.tick().await;
            for (peer, _) in &others {
                peer.net.publish(topic, &claim(n).1).await;
            }
            for (peer, heard) in &mut others {
                while let Ok(event) = peer.events.try_recv() {
                    if let NetEvent::Gossip { from, .. } = event {
                        heard.insert(from);
                    }
                }
            }
            if others.iter().all(|(_, heard)| heard.len() == count - 1) {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, all_heard).await.expect("everyone is heard within a minute");
}
