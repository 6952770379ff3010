//! One instance of a module and the calls into it.

use std::sync::Arc;

use wasmtime::{
    Instance, Memory, ModuleExport, Store, ThrownException, Trap, TypedFunc, UpdateDeadline, WasmParams, WasmResults,
};

use super::error::{TaskError, TaskErrorKind};
use super::limits::MAX_ERROR_TEXT;
use super::log::{LogTail, readable};
use super::meter::MemoryMeter;
use super::module::Module;
use super::params::TaskParams;
use super::state::{Host, Random};
use super::watch::{Overseer, Stop, Watch};

/// A fresh instance, ready for a task.
pub(super) struct Guest<'m> {
    module: &'m Module,
    params: &'m TaskParams,
    store: Store<Host>,
    instance: Instance,
    memory: Memory,
    alloc: TypedFunc<u32, u32>,
}

/// A function that takes a buffer and returns a status.
pub(super) type Feed = TypedFunc<(u32, u32), i32>;

impl<'m> Guest<'m> {
    /// Creates an instance and runs its static constructors.
    pub(super) fn start(
        module: &'m Module,
        params: &'m TaskParams,
        overseer: Option<Arc<dyn Overseer>>,
    ) -> Result<Self, TaskError> {
        let host = Host {
            meter: MemoryMeter::new(params.limits.memory, module.guest_memory()),
            log: LogTail::default(),
            random: Random::new(params.seed),
            watch: Watch::new(params.limits.time, params.cancel.clone(), overseer),
        };
        let mut store = Store::new(module.engine(), host);
        store.limiter(|host| &mut host.meter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            store.data_mut().watch.check()?;
            Ok(UpdateDeadline::Continue(1))
        });
        match Self::instantiate(module, &mut store) {
            Ok((instance, memory, alloc)) => Ok(Self { module, params, store, instance, memory, alloc }),
            Err(error) => Err(TaskError {
                document: None,
                apart: 0,
                kind: describe(&error, &store, params),
                log_tail: store.data().log.text(),
            }),
        }
    }

    fn instantiate(
        module: &Module,
        store: &mut Store<Host>,
    ) -> wasmtime::Result<(Instance, Memory, TypedFunc<u32, u32>)> {
        let exports = module.exports();
        let instance = module.instantiate(store)?;
        let memory = instance
            .get_module_export(&mut *store, &exports.memory)
            .and_then(wasmtime::Extern::into_memory)
            .ok_or_else(|| wasmtime::Error::msg("no memory"))?;
        let alloc = typed(instance, store, &exports.alloc)?;
        typed::<(), ()>(instance, store, &exports.initialize)?.call(&mut *store, ())?;
        Ok((instance, memory, alloc))
    }

    /// The export as a function of these types, which were checked when the module was loaded.
    pub(super) fn function<P: WasmParams, R: WasmResults>(
        &mut self,
        export: &ModuleExport,
    ) -> Result<TypedFunc<P, R>, TaskErrorKind> {
        typed(self.instance, &mut self.store, export).map_err(|error| TaskErrorKind::BadModule(format!("{error:#}")))
    }

    /// Calls a function of the guest.
    pub(super) fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        function: &TypedFunc<P, R>,
        params: P,
    ) -> Result<R, TaskErrorKind> {
        function.call(&mut self.store, params).map_err(|error| match describe(&error, &self.store, self.params) {
            TaskErrorKind::Trap(_) if self.stack_ran_over() => TaskErrorKind::Trap(
                "stack overflow: make large local arrays static or a std::vector, and recursion less deep".into(),
            ),
            kind => kind,
        })
    }

    /// Whether the job's variables overflowed the stack. It is at the bottom of the memory, so its pointer is then
    /// below zero. This is known only for modules that export the pointer.
    fn stack_ran_over(&mut self) -> bool {
        let pointer = self.instance.get_global(&mut self.store, "__stack_pointer");
        pointer.and_then(|pointer| pointer.get(&mut self.store).i32()).is_some_and(|pointer| pointer < 0)
    }

    /// Passes `bytes` to the guest through `function`, and reads the error's text if it fails.
    pub(super) fn feed(&mut self, function: &Feed, bytes: &[u8]) -> Result<(), TaskErrorKind> {
        let alloc = self.alloc.clone();
        let len = u32::try_from(bytes.len())
            .map_err(|_| TaskErrorKind::Input(format!("{} bytes at once do not fit a guest", bytes.len())))?;
        let ptr = self.call(&alloc, len)?;
        let room = self.memory.data_mut(&mut self.store).get_mut(ptr as usize..ptr as usize + bytes.len());
        match room {
            // A null pointer means that the allocation failed.
            Some(room) if ptr != 0 || bytes.is_empty() => room.copy_from_slice(bytes),
            _ => {
                return Err(
                    self.blame_memory(format!("webmesh_alloc({len}) returned {ptr:#x}, where there is no room"))
                );
            }
        }
        match self.call(function, (ptr, len))? {
            0 => Ok(()),
            _ => Err(self.thrown()),
        }
    }

    /// The error behind a failed status.
    pub(super) fn thrown(&mut self) -> TaskErrorKind {
        match self.error_text() {
            Ok(text) => self.blame_memory_or(TaskErrorKind::Exception(text)),
            Err(kind) => kind,
        }
    }

    fn error_text(&mut self) -> Result<String, TaskErrorKind> {
        let error = self.function::<(), u32>(&self.module.exports().error)?;
        let at = self.call(&error, ())?;
        let [data, len] = self.words(at)?;
        let bytes = self.bytes(data, len)?;
        Ok(match readable(&bytes[..bytes.len().min(MAX_ERROR_TEXT)]) {
            text if text.is_empty() => "an exception without a text".into(),
            text => text,
        })
    }

    /// `N` little-endian words at `at`.
    pub(super) fn words<const N: usize>(&self, at: u32) -> Result<[u32; N], TaskErrorKind> {
        let mut words = [0; N];
        let bytes = self.bytes(at, 4 * N as u32)?;
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Ok(words)
    }

    /// `len` bytes at `at`.
    pub(super) fn bytes(&self, at: u32, len: u32) -> Result<&[u8], TaskErrorKind> {
        self.memory
            .data(&self.store)
            .get(at as usize..at as usize + len as usize)
            .ok_or_else(|| self.blame_memory(format!("{len} bytes at {at:#x} are outside the memory")))
    }

    /// An interface error, unless lack of memory caused it.
    pub(super) fn blame_memory(&self, text: String) -> TaskErrorKind {
        self.blame_memory_or(TaskErrorKind::BadModule(text))
    }

    fn blame_memory_or(&self, kind: TaskErrorKind) -> TaskErrorKind {
        want_of_memory(self.store.data()).unwrap_or(kind)
    }

    /// Excludes the time `waited`, which the host spent, from the guest's time limit.
    pub(super) fn forgive(&mut self, waited: std::time::Duration) {
        self.store.data_mut().watch.forgive(waited);
    }

    /// Ends the task in failure.
    pub(super) fn fail(self, document: Option<u32>, kind: TaskErrorKind) -> TaskError {
        TaskError { document, apart: 0, kind, log_tail: self.store.data().log.text() }
    }
}

fn typed<P: WasmParams, R: WasmResults>(
    instance: Instance,
    store: &mut Store<Host>,
    export: &ModuleExport,
) -> wasmtime::Result<TypedFunc<P, R>> {
    instance
        .get_module_export(&mut *store, export)
        .and_then(wasmtime::Extern::into_func)
        .ok_or_else(|| wasmtime::Error::msg("an export is not a function"))?
        .typed(&*store)
}

/// The memory error that explains a failure: a guest that was denied memory and failed afterwards failed for that
/// reason, whatever form the failure took (`bad_alloc`, a null pointer, a trap, an abort).
fn want_of_memory(host: &Host) -> Option<TaskErrorKind> {
    if host.meter.starved() {
        return Some(TaskErrorKind::Host("this peer has no more memory for tasks at the moment".into()));
    }
    host.meter.exceeded().map(TaskErrorKind::MemoryLimit)
}

/// Classifies an error of wasmtime.
fn describe(error: &wasmtime::Error, store: &Store<Host>, params: &TaskParams) -> TaskErrorKind {
    match error.downcast_ref::<Stop>() {
        Some(Stop::TimeLimit) => return TaskErrorKind::TimeLimit(params.limits.time),
        Some(Stop::Cancelled) => return TaskErrorKind::Cancelled,
        Some(Stop::Exit(_)) | None => {}
    }
    if let Some(kind) = want_of_memory(store.data()) {
        return kind;
    }
    if let Some(Stop::Exit(status)) = error.downcast_ref() {
        TaskErrorKind::Exit(*status)
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        let text = trap.to_string();
        TaskErrorKind::Trap(text.strip_prefix("wasm trap: ").unwrap_or(&text).into())
    } else if error.is::<ThrownException>() {
        TaskErrorKind::Exception("an exception outside map and reduce, where nothing catches it".into())
    } else {
        TaskErrorKind::Host(format!("{error:#}"))
    }
}
