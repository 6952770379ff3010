//! The child's side: reads a module, compiles it, writes the code, and probes it.

use std::io::{self, Read, Write};
use std::process::exit;
use std::time::Duration;

use super::{CODE, FAILED, FITS, Limits, NAME, NO_MEMORY, REFUSED, confine};
use crate::exec::admission::Admission;
use crate::exec::compile::compile;
use crate::exec::error::ModuleError;
use crate::exec::limits::{COMPILE_WALL_FACTOR, MAX_SEPARATE_CELLS, PROBE_TIME};
use crate::exec::probe::check_version;
use crate::exec::{TaskErrorKind, engine};

/// Serves one module and ends the process.
pub(super) fn serve() -> ! {
    // Nothing is written but the answer, and, by Rust itself, why the process dies.
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = arguments().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput)).and_then(answer);
    match outcome {
        Ok(()) => exit(0),
        Err(why) => {
            eprintln!("{NAME}: {why}");
            exit(1)
        }
    }
}

/// The arguments that [`super::process`] gives: the parent, and the limits.
fn arguments() -> Option<(i32, Limits)> {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<u64>().ok());
    let mut next = || numbers.next().flatten();
    let parent = i32::try_from(next()?).ok()?;
    Some((parent, Limits { memory: next()?, instance: next()?, time: Duration::from_secs(next()?) }))
}

fn answer((parent, limits): (i32, Limits)) -> io::Result<()> {
    confine::end_with(parent)?;
    let mut wasm = Vec::new();
    io::stdin().lock().read_to_end(&mut wasm)?;
    let engine = engine::for_compiling().map_err(io::Error::other)?;
    confine::limit(&limits)?;
    confine::give_up_system_calls();
    let mut output = io::stdout().lock();
    let verdict = match judge(engine, &wasm, &limits, &mut output) {
        Ok(()) => vec![FITS],
        Err(Failure::Module(error)) => verdict_of(&error),
        Err(Failure::Io(why)) => return Err(why),
    };
    output.write_all(&verdict)?;
    output.flush()
}

enum Failure {
    Module(ModuleError),
    Io(io::Error),
}

impl From<ModuleError> for Failure {
    fn from(error: ModuleError) -> Self {
        Self::Module(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn judge(engine: wasmtime::Engine, wasm: &[u8], limits: &Limits, output: &mut impl Write) -> Result<(), Failure> {
    let compiled = compile(&engine, wasm, MAX_SEPARATE_CELLS)?;
    let code = compiled.serialize().map_err(|error| ModuleError::Host(format!("{error:#}")))?;
    output.write_all(&[CODE])?;
    output.write_all(&(code.len() as u64).to_le_bytes())?;
    output.write_all(&code)?;
    // Before any of it runs.
    output.flush()?;
    drop(code);
    let admission = Admission::new(engine, limits.instance).map_err(|error| ModuleError::Host(error.to_string()))?;
    let module = admission.admit([0; 32], &compiled, None)?;
    confine::limit_probe()?;
    // The parent watches its processor time.
    Ok(check_version(&module, limits.instance, PROBE_TIME * COMPILE_WALL_FACTOR)?)
}

fn verdict_of(error: &ModuleError) -> Vec<u8> {
    let text = error.to_string();
    let kind = match error {
        // wasmtime's own mappings fail with this text, and the error is all that remains of it.
        ModuleError::Invalid(_) | ModuleError::Host(_) if text.contains("Cannot allocate memory") => NO_MEMORY,
        // How much memory there is depends on the host.
        ModuleError::Probe(TaskErrorKind::MemoryLimit(_)) => FAILED,
        error if error.is_repeatable() => REFUSED,
        _ => FAILED,
    };
    [&[kind], text.as_bytes()].concat()
}
