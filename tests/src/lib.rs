//! What the whole-system tests share: real processes on loopback, waited for by what they say, never by the clock.

pub mod corpus;
pub mod job;
pub mod mesh;
pub mod process;
pub mod terminal;
