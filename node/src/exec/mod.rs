//! Runs a job's tasks in WebAssembly, natively.
//!
//! A [`Runtime`] holds one wasmtime engine and compiles modules, which it checks against the guest
//! interface (`docs/guest-abi.md`). A [`Module`] runs one task at a time on the caller's thread, each in a
//! fresh instance. A [`Pool`] runs [`Unit`]s of many tasks on its own threads and delivers their results in batches, so
//! a job of 200,000 one-line tasks costs little more than its instances.
//!
//! Modules are compiled in processes of their own, if the program allows it by [`run_if_asked`].
//!
//! Guests are not trusted: their pointers are checked, their memory, time, output and log are bounded, and every
//! failure becomes a [`TaskError`] that says what happened.

mod admission;
mod artifact;
mod blame;
mod cancel;
#[cfg(target_os = "linux")]
mod child;
#[cfg(not(target_os = "linux"))]
#[path = "child_elsewhere.rs"]
mod child;
mod compile;
mod cost;
mod engine;
mod error;
mod guest;
mod limits;
mod log;
mod meter;
mod module;
mod outbox;
mod params;
mod pool;
mod probe;
mod refused;
mod runtime;
mod signature;
mod state;
mod task;
mod ticker;
mod turns;
mod unit;
mod wasi;
mod watch;

#[cfg(test)]
mod tests;

pub use cancel::CancelToken;
pub use child::run_if_asked;
pub use error::{ModuleError, RuntimeError, TaskError, TaskErrorKind};
pub use limits::{MAX_MODULE_BYTES, MAX_TASK_MEMORY};
pub use module::Module;
pub use outbox::{Deliver, Delivery, TaskDone, TaskOutput};
pub use params::{TaskLimits, TaskParams};
pub use pool::{Pool, SubmitError};
pub use runtime::{Runtime, RuntimeConfig};
pub use task::{MapOutput, ReduceOutput};
pub use unit::{Chunks, MapTask, ReduceTask, SeedOf, Unit, Work};
