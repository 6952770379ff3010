//! Shared code of the whole-system tests: real processes on loopback; tests wait for their output, never for a fixed
//! time.

pub mod corpus;
pub mod guest;
pub mod job;
pub mod mesh;
pub mod process;
pub mod terminal;
