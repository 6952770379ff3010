//! What submitting a job takes beside the engine, the same for a terminal and a tab.

mod compile;
mod follow;
mod search;

pub use compile::{CompileError, Compilers, Module, compile, cut_name};
pub use follow::{Begin, FollowError, follow, named};
