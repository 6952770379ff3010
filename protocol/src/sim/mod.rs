//! The simulator: many real engines in one process, on virtual time, from one seed.
//!
//! A [`Scenario`] says what mesh there is, what is submitted and what goes wrong; [`run`] gives a [`Report`].
//! The network, gossipsub, threads and stores are models (see `net`, `gossip`, `exec`, `store`); the engines are
//! the very ones that the node drives. An oracle that knows nothing of their insides checks what they promise:
//! every task in the result exactly once, nothing accepted or stored twice, every job over in time, nothing held
//! for a job that is over, no engine that asks to be woken at once again and again.
//!
//! A scenario run twice goes the same way, to the last message: [`Report::trace`] is equal.

mod exec;
mod gossip;
mod guest;
mod home;
mod host;
mod net;
mod oracle;
mod queue;
mod report;
mod rng;
mod scenario;
mod store;
mod world;

pub use report::{Counts, JobReport, Report};
pub use scenario::{Damage, Fault, Job, Links, Node, Scenario};

/// Simulates a scenario.
pub fn run(scenario: &Scenario) -> Report {
    let mut world = world::World::new(scenario);
    world.go();
    Report::new(world)
}
