//! The protocol of WebMesh: its messages and documents, and the engine that every peer runs.
//!
//! This crate does no IO, reads no clock and draws no random numbers. The native node, the browser tab and the
//! simulator (feature `sim`) drive the same [`engine::Engine`]:
//!
//! 1. **Handle**: give it an [`io::Event`] with the time at which it happened.
//! 2. **Drain**: carry out every [`io::Action`] that [`poll`](engine::Engine::poll) returns. The result of an
//!    action (a response, a finished task, a batch that is on disk) is a later event.
//! 3. **Re-arm the timer**: at [`deadline`](engine::Engine::deadline) at the latest, handle [`io::Event::Tick`].
//!
//! ```
//! use std::time::Duration;
//! use webmesh_protocol::engine::{Config, Engine, Memory};
//! use webmesh_protocol::io::{Action, Event, NetAction};
//! use webmesh_protocol::membership::{Advert, Kind, Roles};
//! use webmesh_protocol::message::Request;
//! use webmesh_protocol::{PeerKey, Time, guest, version};
//!
//! let advert = Advert {
//!     kind: Kind::Node,
//!     roles: Roles { worker: true, ..Roles::default() },
//!     threads: 4,
//!     weight: 1,
//!     addresses: vec!["/ip4/192.0.2.1/tcp/4001".to_owned()],
//!     agent: "example/1".to_owned(),
//!     minor: version::MINOR,
//! };
//! let (me, memory, interface) = (PeerKey([1; 32]), Memory::native(1 << 30, 1 << 40), guest::INTERFACE);
//! let mut engine = Engine::new(Config { me, started: 1, advert, memory, interface, confirms: true });
//!
//! // When a connection is established, the engine introduces itself.
//! let mut now = Time(0);
//! engine.handle(now, Event::Connected { peer: PeerKey([2; 32]), network: None });
//! let mut introduced = false;
//! while let Some(action) = engine.poll() {
//!     if let Action::Net(NetAction::Request { to, request: Request::Hello(_), .. }) = action {
//!         introduced = to == PeerKey([2; 32]);
//!     }
//! }
//! assert!(introduced);
//!
//! // For a minute, the only events are the engine's own timers.
//! while engine.deadline() < Time(0) + Duration::from_secs(60) {
//!     now = engine.deadline();
//!     engine.handle(now, Event::Tick);
//!     while let Some(action) = engine.poll() {
//!         drop(action); // Here it would be carried out.
//!     }
//! }
//! ```

pub mod claims;
pub mod codec;
pub mod decisions;
pub mod engine;
pub mod epoch;
pub mod guest;
pub mod id;
pub mod io;
pub mod limits;
pub mod manifest;
pub mod membership;
pub mod message;
pub mod pack;
pub mod part;
pub mod provenance;
pub mod ranges;
pub mod ring;
pub mod segment;
pub mod sign;
#[cfg(feature = "sim")]
pub mod sim;
pub mod split;
pub mod time;
pub mod version;

pub use id::{Hash, JobId, PeerKey};
pub use part::{
    Generation, PartitionId, PartitionRef, ShardId, ShardRef, ShuffleShape, StageId, StageRef, TaskId, TaskRef,
};
pub use time::Time;
