//! The simulator: many real engines in one process, on virtual time, driven by one seed.
//!
//! A [`Scenario`] describes the mesh, the jobs and the faults; [`run`] returns a [`Report`]. The network, gossipsub,
//! threads and stores are models (see `net`, `gossip`, `exec`, `store`); the engines are the ones that the node drives.
//! An oracle that does not look inside them checks their guarantees: every task is in the result exactly once, nothing
//! is accepted or stored twice, every job ends in time, no state is kept of a job that is over, and no engine asks to
//! be woken at once again and again.
//!
//! Running a scenario twice gives the same messages: [`Report::trace`] is equal.

mod exec;
mod faults;
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
mod strangers;
mod world;

pub use report::{Counts, JobReport, Report};
pub use scenario::{Damage, Fault, Job, Lie, Links, Node, Scenario};

/// Simulates a scenario.
pub fn run(scenario: &Scenario) -> Report {
    let mut world = world::World::new(scenario);
    world.run_to_end();
    Report::new(world)
}
