//! Gossip: configuration of gossipsub, validation of messages, and an outbox for messages without subscribers.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::gossipsub::{
    self, ConfigBuilder, DataTransform, IdentTopic, Message, MessageAcceptance, MessageAuthenticity, MessageId,
    PeerScoreParams, PeerScoreThresholds, PublishError, RawMessage, TopicHash, TopicScoreParams, ValidationMode,
    WhitelistSubscriptionFilter,
};
use libp2p::identity::Keypair;
use webmesh_protocol::PeerKey;
use webmesh_protocol::codec::{self, DecodeError};
use webmesh_protocol::limits as protocol;
use webmesh_protocol::message::{Gossip, Topic};

use super::counters::Meters;
use super::keys::peer_key_of;
use super::limits;
use super::rates::{Rates, Verdict};
use crate::platform::Instant;

/// Gossipsub as used here: with a fixed set of topics, and every delivery counted.
pub(super) type Gossipsub = gossipsub::Behaviour<Counted, WhitelistSubscriptionFilter>;

/// Passes messages through and counts them. Gossipsub shows every message that peers deliver to its transform,
/// duplicates included, before it does anything else with it.
#[derive(Clone, Debug)]
pub(super) struct Counted(Arc<Meters>);

impl DataTransform for Counted {
    fn inbound_transform(&self, raw: RawMessage) -> Result<Message, io::Error> {
        self.0.gossip_delivered.add(1);
        self.0.gossip_bytes_in.add(raw.data.len());
        let RawMessage { source, data, sequence_number, topic, .. } = raw;
        Ok(Message { source, data, sequence_number, topic })
    }

    fn outbound_transform(&self, _: &TopicHash, data: Vec<u8>) -> Result<Vec<u8>, io::Error> {
        Ok(data)
    }
}

/// Gossipsub for this mesh, or the error in its configuration.
pub(super) fn gossipsub(identity: &Keypair, meters: Arc<Meters>) -> Result<Gossipsub, String> {
    let config = ConfigBuilder::default()
        .max_transmit_size(limits::GOSSIP_RPC_BYTES)
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        // The source of a message is one hop away from everyone that it is connected to: in meshes of some tens of
        // peers, one hop is enough.
        .flood_publish(true)
        .heartbeat_initial_delay(Duration::from_millis(100))
        .heartbeat_interval(protocol::GOSSIP_HEARTBEAT)
        .mesh_n(protocol::GOSSIP_MESH)
        .mesh_n_low(protocol::GOSSIP_MESH_LOW)
        .mesh_n_high(protocol::GOSSIP_MESH_HIGH)
        .mesh_outbound_min(2)
        .gossip_lazy(protocol::GOSSIP_LAZY)
        // In heartbeats: how long a message can be requested again, and for how many it is advertised.
        .history_length(12)
        .history_gossip(protocol::GOSSIP_TOLD)
        .duplicate_cache_time(protocol::GOSSIP_SEEN)
        .prune_backoff(protocol::GOSSIP_PRUNED)
        .unsubscribe_backoff(protocol::GOSSIP_LEFT)
        .connection_handler_queue_len(limits::GOSSIP_QUEUE)
        .publish_queue_duration(Duration::from_secs(5))
        .forward_queue_duration(protocol::GOSSIP_QUEUE)
        .build()
        .map_err(|e| e.to_string())?;
    let signed = MessageAuthenticity::Signed(identity.clone());
    let topics = WhitelistSubscriptionFilter(Topic::all().map(|t| hash_of(&t)).collect());
    let mut behaviour = Gossipsub::new_with_subscription_filter_and_transform(signed, config, topics, Counted(meters))?;
    behaviour.with_peer_score(scores(), thresholds())?;
    Ok(behaviour)
}

/// Peer scoring for gossipsub. Invalid messages and protocol violations lower the score; silence does not, for our
/// topics are quiet when there is no work, and many peers may share an address (one household, a loopback mesh).
fn scores() -> PeerScoreParams {
    let topic = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.01,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 300.0,
        first_message_deliveries_weight: 0.1,
        first_message_deliveries_decay: gossipsub::score_parameter_decay(Duration::from_secs(60)),
        first_message_deliveries_cap: 50.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        // The number is squared: three in a row silence a peer for a while, a single one is forgotten.
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: gossipsub::score_parameter_decay(Duration::from_secs(300)),
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: Topic::all().map(|t| (hash_of(&t), topic.clone())).collect(),
        topic_score_cap: 20.0,
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_weight: -1.0,
        behaviour_penalty_threshold: 6.0,
        slow_peer_weight: 0.0,
        retain_score: Duration::from_secs(600),
        ..PeerScoreParams::default()
    }
}

fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: -20.0,
        publish_threshold: -40.0,
        graylist_threshold: -80.0,
        accept_px_threshold: 10.0,
        opportunistic_graft_threshold: 1.0,
    }
}

fn hash_of(topic: &Topic) -> TopicHash {
    IdentTopic::new(topic.name()).hash()
}

/// Why a message that gossipsub delivered is not passed to the driver. Gossipsub has been told.
#[derive(Debug)]
pub(super) enum Refused {
    /// It does not decode in this version, or came on the wrong topic.
    Nonsense,
    /// Its signer, or the neighbour that passed it on, exceeds the rate limit.
    Flood,
    /// Its sender speaks another version.
    OtherVersion(PeerId, String),
}

/// Gossip state of this peer.
#[derive(Debug)]
pub(super) struct GossipGate {
    topics: HashMap<TopicHash, Topic>,
    /// Own messages without a subscriber yet, oldest first.
    outbox: VecDeque<(Instant, Topic, Vec<u8>)>,
    rates: Rates,
    meters: Arc<Meters>,
}

impl GossipGate {
    /// Accepts `of_source` messages a second from each signer.
    pub(super) fn new(of_source: f64, meters: Arc<Meters>) -> Self {
        let topics = Topic::all().map(|t| (hash_of(&t), t)).collect();
        Self { topics, outbox: VecDeque::new(), rates: Rates::new(of_source, Instant::now()), meters }
    }

    /// Validates a message, which decides whether gossipsub passes it on.
    pub(super) fn validate(
        &mut self,
        swarm: &mut Gossipsub,
        id: &MessageId,
        via: &PeerId,
        message: &Message,
    ) -> Result<(PeerKey, Gossip), Refused> {
        let flood = match self.rates.check(message.source.unwrap_or(*via), *via, Instant::now()) {
            Verdict::Take => None,
            Verdict::Drop => Some(MessageAcceptance::Ignore),
            Verdict::Blame => Some(MessageAcceptance::Reject),
        };
        if let Some(verdict) = flood {
            tracing::debug!(%via, ?verdict, "gossip rate limit exceeded");
            self.meters.gossip_flooded.add(1);
            swarm.report_message_validation_result(id, via, verdict);
            return Err(Refused::Flood);
        }
        let sender = message.source.as_ref().and_then(peer_key_of);
        let decoded = codec::decode::<Gossip>(&message.data);
        let topic = self.topics.get(&message.topic);
        let (validated, verdict) = match (sender, topic, decoded) {
            (Some(from), Some(&topic), Ok(gossip)) if gossip.belongs_on(topic) => {
                (Ok((from, gossip)), MessageAcceptance::Accept)
            }
            // Not the fault of the neighbour that passed it on.
            (_, _, Err(e @ DecodeError::Version { .. })) => {
                let refused = message.source.map(|source| Refused::OtherVersion(source, e.to_string()));
                (Err(refused.unwrap_or(Refused::Nonsense)), MessageAcceptance::Ignore)
            }
            // Another peer may understand it.
            (_, _, Err(why @ (DecodeError::Unknown { .. } | DecodeError::Newer { .. }))) => {
                tracing::debug!(%via, %why, "gossip of an unknown kind ignored");
                (Err(Refused::Nonsense), MessageAcceptance::Ignore)
            }
            (_, _, decoded) => {
                let why = decoded.err().map_or_else(|| "on the wrong topic".to_owned(), |e| e.to_string());
                tracing::debug!(%via, why, "gossip refused");
                (Err(Refused::Nonsense), MessageAcceptance::Reject)
            }
        };
        if validated.is_err() {
            self.meters.gossip_refused.add(1);
        }
        // `false` means that the message has left the cache meanwhile: nothing to do.
        swarm.report_message_validation_result(id, via, verdict);
        validated
    }

    /// Publishes a message, or keeps it until somebody subscribes.
    pub(super) fn publish(&mut self, swarm: &mut Gossipsub, topic: Topic, data: Vec<u8>) {
        self.try_publish(swarm, Instant::now(), topic, data);
    }

    /// Retries the outbox: all of it, or one topic that has a new subscriber.
    pub(super) fn retry(&mut self, swarm: &mut Gossipsub, topic: Option<&TopicHash>) {
        let only = topic.and_then(|t| self.topics.get(t)).copied();
        if topic.is_some() && only.is_none() {
            return;
        }
        for (since, topic, data) in std::mem::take(&mut self.outbox) {
            if since.elapsed() > limits::OUTBOX_RETRY_TIME {
                self.meters.gossip_lost.add(1);
            } else if only.is_none_or(|t| t == topic) {
                self.try_publish(swarm, since, topic, data);
            } else {
                self.outbox.push_back((since, topic, data));
            }
        }
    }

    fn try_publish(&mut self, swarm: &mut Gossipsub, since: Instant, topic: Topic, data: Vec<u8>) {
        match swarm.publish(hash_of(&topic), data.clone()) {
            Ok(_) => self.meters.gossip_published.add(1),
            Err(PublishError::NoPeersSubscribedToTopic | PublishError::AllQueuesFull(_)) => {
                if self.outbox.len() >= limits::OUTBOX_MESSAGES {
                    self.outbox.pop_front();
                    self.meters.gossip_lost.add(1);
                }
                self.outbox.push_back((since, topic, data));
            }
            Err(e) => {
                self.meters.gossip_lost.add(1);
                tracing::warn!(?topic, "a gossip message could not be published: {e}");
            }
        }
    }
}

/// Subscribes to a topic, or unsubscribes.
pub(super) fn subscribe(swarm: &mut Gossipsub, topic: Topic, on: bool) {
    let topic = IdentTopic::new(topic.name());
    if !on {
        swarm.unsubscribe(&topic);
    } else if let Err(e) = swarm.subscribe(&topic) {
        tracing::warn!(%topic, "cannot subscribe: {e}");
    }
}
