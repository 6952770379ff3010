//! Compiles and submits jobs; shared by the command line and the browser tab.

mod compile;
mod follow;
mod search;

pub use compile::{CompileError, Compilers, Module, compile, cut_name};
pub use follow::{Begin, FollowError, follow, named};
