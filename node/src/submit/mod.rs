//! What submitting a job takes beside the engine, the same for a terminal and a tab.

mod compile;
mod follow;

pub use compile::{CompileError, Module, compile, cut_name};
pub use follow::{FollowError, follow};
