//! The shape of a job's module: what it declares, checked before any compiler sees it.
//!
//! Every host checks it, natively and in a tab, so the same modules are refused everywhere. It reads declarations only,
//! by hand, since a validator would be a third of the page's program; whether the code is valid is for the host's own
//! compiler to say. What it lets through, a host can hold: memories and tables cannot grow beyond their limits, and no
//! type of object can be allocated that no limit counts.

use std::ops::Range;

use webmesh_protocol::limits::MODULE_BYTES;
use webmesh_protocol::segment::put_varint;

/// Bytes of a page of WebAssembly's memory.
pub const PAGE: u64 = 64 * 1024;

/// Entries of a table, which bounds `table.grow`. The table of indirect functions of a large C++ job has a few
/// thousand.
pub const MAX_TABLE_ELEMENTS: u32 = 65_536;

/// Tables of a module. C++ uses one; a second may hold exception references.
pub const MAX_TABLES: u32 = 4;

/// Globals of a module: a part of every instance, made anew for every task. C++ has a few.
pub const MAX_GLOBALS: u32 = 10_000;

/// Functions of a module. A C++ job with `<regex>` and `<format>` has 5,000.
pub const MAX_FUNCTIONS: u32 = 100_000;

/// Size of one function's body, in bytes: functions are compiled in parallel, but each by one thread and as a whole.
pub const MAX_BODY_BYTES: u32 = 1 << 20;

/// Locals of one function, with its parameters. None in the examples has over 300.
pub const MAX_LOCALS: u32 = 10_000;

/// Types of a module. The largest examples have a hundred.
pub const MAX_TYPES: u32 = 10_000;

/// Parameters of a type, and its results: the limit of browsers, which wasmtime has, too.
pub const MAX_PARAMETERS: u32 = 1_000;

/// Exports of a module: a browser makes an object for each, for every task. The interface needs nine.
pub const MAX_EXPORTS: u32 = 1_000;

/// Imports of a module: the interface has fifteen functions.
pub const MAX_IMPORTS: u32 = 100;

/// Kinds of exceptions. C++ has one.
pub const MAX_TAGS: u32 = 16;

/// Values that an exception carries: numbers only, since a reference would make chains of them, which no limit counts.
pub const MAX_TAG_PARAMETERS: u32 = 16;

/// Data segments, and element segments, of a module. C++ has a few.
pub const MAX_SEGMENTS: u32 = 10_000;

/// Why a module is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// It is not a module, or a damaged one.
    #[error("the module is damaged")]
    Malformed,
    /// It declares what jobs cannot have.
    #[error("the module has {0}, which jobs cannot use")]
    Unsupported(&'static str),
    /// It declares too much of something.
    #[error("the module has {found} {what}, more than the {limit} allowed")]
    TooMany {
        /// What exceeds its limit.
        what: &'static str,
        /// The amount found.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// Its initial memory exceeds the limit of a task.
    #[error("the module needs {needed} bytes of memory to start, more than its tasks' limit of {limit}")]
    MemoryTooSmall {
        /// Its initial memory in bytes.
        needed: u64,
        /// The limit of a task in bytes.
        limit: u64,
    },
}

/// What a module declares, within all limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of the bodies of all functions.
    pub code_bytes: u64,
    /// Its only memory.
    memory: Memory,
    /// Its tables, in the place that they have in the module.
    tables: Option<(Range<usize>, Vec<Table>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Memory {
    /// The whole section.
    section: Range<usize>,
    initial: u64,
    maximum: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    reference: u8,
    initial: u64,
    maximum: Option<u64>,
}

const MAGIC: [u8; 8] = *b"\0asm\x01\0\0\0";

mod section {
    pub(super) const CUSTOM: u8 = 0;
    pub(super) const TYPE: u8 = 1;
    pub(super) const IMPORT: u8 = 2;
    pub(super) const FUNCTION: u8 = 3;
    pub(super) const TABLE: u8 = 4;
    pub(super) const MEMORY: u8 = 5;
    pub(super) const GLOBAL: u8 = 6;
    pub(super) const EXPORT: u8 = 7;
    pub(super) const ELEMENT: u8 = 9;
    pub(super) const CODE: u8 = 10;
    pub(super) const DATA: u8 = 11;
    pub(super) const TAG: u8 = 13;
    /// Of the last known one.
    pub(super) const LAST: u8 = TAG;
}

const FUNCTION_TYPE: u8 = 0x60;
/// i32, i64, f32, f64.
const NUMBERS: std::ops::RangeInclusive<u8> = 0x7c..=0x7f;
/// References with a type of the module or without null: two bytes or more.
const LONG_REFERENCES: [u8; 2] = [0x63, 0x64];
/// Functions, host values, exceptions.
const TABLE_REFERENCES: [u8; 3] = [0x70, 0x6f, 0x69];
const FLAG_MAXIMUM: u64 = 1;

impl Shape {
    /// Reads what `wasm` declares.
    ///
    /// # Errors
    /// [`ShapeError`] if no host may run it.
    pub fn of(wasm: &[u8]) -> Result<Self, ShapeError> {
        if wasm.len() > MODULE_BYTES {
            return Err(too_many("bytes", wasm.len() as u64, MODULE_BYTES as u64));
        }
        let mut reader = Reader { rest: wasm.strip_prefix(&MAGIC).ok_or(ShapeError::Malformed)? };
        let mut seen = [false; section::LAST as usize + 1];
        let mut types = Types::default();
        let (mut memory, mut tables, mut code_bytes) = (None, None, 0);
        while !reader.rest.is_empty() {
            let start = wasm.len() - reader.rest.len();
            let id = reader.byte()?;
            let len = reader.number()?;
            let mut body = Reader { rest: reader.take(len)? };
            let end = wasm.len() - reader.rest.len();
            if id == section::CUSTOM {
                continue;
            }
            // A second one would escape the limits.
            match seen.get_mut(usize::from(id)) {
                Some(seen) if !*seen => *seen = true,
                Some(_) => return Err(ShapeError::Malformed),
                None => return Err(ShapeError::Unsupported("a section of an unknown kind")),
            }
            match id {
                section::TYPE => types = Types::read(&mut body)?,
                section::IMPORT => body.imports()?,
                section::FUNCTION => {
                    body.count("functions", MAX_FUNCTIONS)?;
                }
                section::TABLE => tables = Some((start..end, body.tables()?)),
                section::MEMORY => memory = Some(body.memory(start..end)?),
                section::GLOBAL => {
                    body.count("globals", MAX_GLOBALS)?;
                }
                section::EXPORT => {
                    body.count("exports", MAX_EXPORTS)?;
                }
                section::ELEMENT => {
                    body.count("element segments", MAX_SEGMENTS)?;
                }
                section::CODE => code_bytes = body.code()?,
                section::DATA => {
                    body.count("data segments", MAX_SEGMENTS)?;
                }
                section::TAG => body.tags(&types)?,
                _ => {}
            }
        }
        let memory = memory.ok_or(ShapeError::Unsupported("no memory of its own"))?;
        Ok(Self { code_bytes, memory, tables })
    }

    /// `wasm`, whose shape this is, with the maximum of its memory lowered to `memory` bytes and those of its tables to
    /// [`MAX_TABLE_ELEMENTS`]: for hosts that let both grow to their declared maximum, as browsers do. Growing beyond
    /// fails in the guest, as it does natively.
    ///
    /// # Errors
    /// Fails if its initial memory is larger.
    pub fn limited(&self, wasm: &[u8], memory: u64) -> Result<Vec<u8>, ShapeError> {
        let pages = memory / PAGE;
        if self.memory.initial > pages {
            let needed = self.memory.initial.saturating_mul(PAGE);
            return Err(ShapeError::MemoryTooSmall { needed, limit: memory });
        }
        let mut limited = Vec::new();
        let most = self.memory.maximum.unwrap_or(u64::MAX).min(pages);
        [1, FLAG_MAXIMUM, self.memory.initial, most].into_iter().for_each(|n| put_varint(&mut limited, n));
        let mut replaced = vec![(self.memory.section.clone(), section::MEMORY, limited)];
        if let Some((section, tables)) = &self.tables {
            let mut limited = Vec::new();
            put_varint(&mut limited, tables.len() as u64);
            for table in tables {
                let most = table.maximum.unwrap_or(u64::MAX).min(u64::from(MAX_TABLE_ELEMENTS));
                limited.push(table.reference);
                [FLAG_MAXIMUM, table.initial, most].into_iter().for_each(|n| put_varint(&mut limited, n));
            }
            replaced.push((section.clone(), section::TABLE, limited));
        }
        replaced.sort_by_key(|(section, ..)| section.start);
        let mut out = Vec::with_capacity(wasm.len() + 64);
        let mut copied = 0;
        for (section, id, content) in replaced {
            out.extend_from_slice(wasm.get(copied..section.start).ok_or(ShapeError::Malformed)?);
            out.push(id);
            put_varint(&mut out, content.len() as u64);
            out.extend_from_slice(&content);
            copied = section.end;
        }
        out.extend_from_slice(wasm.get(copied..).ok_or(ShapeError::Malformed)?);
        Ok(out)
    }
}

/// For each type, the number of its parameters if all are numbers and it has no results.
#[derive(Default)]
struct Types(Vec<Option<u32>>);

impl Types {
    fn read(body: &mut Reader<'_>) -> Result<Self, ShapeError> {
        let count = body.count("types", MAX_TYPES)?;
        let mut types = Vec::new();
        for _ in 0..count {
            if body.byte()? != FUNCTION_TYPE {
                // Structures and arrays would be objects on a heap that tabs do not limit.
                return Err(ShapeError::Unsupported("types that are not of functions"));
            }
            let (parameters, numbers) = body.values("parameters of a type")?;
            let (results, _) = body.values("results of a type")?;
            types.push((numbers && results == 0).then_some(parameters));
        }
        Ok(Self(types))
    }
}

/// Reads declarations; fails where they end too early.
struct Reader<'w> {
    rest: &'w [u8],
}

impl<'w> Reader<'w> {
    fn byte(&mut self) -> Result<u8, ShapeError> {
        let (&byte, rest) = self.rest.split_first().ok_or(ShapeError::Malformed)?;
        self.rest = rest;
        Ok(byte)
    }

    fn take(&mut self, len: u32) -> Result<&'w [u8], ShapeError> {
        let (taken, rest) = self.rest.split_at_checked(len as usize).ok_or(ShapeError::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A number of 32 bits, in at most five bytes. Linkers pad numbers, so it need not be the shortest form.
    fn number(&mut self) -> Result<u32, ShapeError> {
        let mut number = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(number).map_err(|_| ShapeError::Malformed);
            }
        }
        Err(ShapeError::Malformed)
    }

    /// The number of entries of a section or a list.
    fn count(&mut self, what: &'static str, limit: u32) -> Result<u32, ShapeError> {
        let found = self.number()?;
        if found > limit { Err(too_many(what, u64::from(found), u64::from(limit))) } else { Ok(found) }
    }

    /// A type of value; whether it is a number.
    fn value(&mut self) -> Result<bool, ShapeError> {
        let byte = self.byte()?;
        if LONG_REFERENCES.contains(&byte) {
            self.number()?;
        }
        Ok(NUMBERS.contains(&byte))
    }

    /// A list of types: how many, and whether all are numbers.
    fn values(&mut self, what: &'static str) -> Result<(u32, bool), ShapeError> {
        let count = self.count(what, MAX_PARAMETERS)?;
        let mut numbers = true;
        for _ in 0..count {
            numbers &= self.value()?;
        }
        Ok((count, numbers))
    }

    /// Memories, tables, globals and tags would escape the limits of a host that provides them. Which functions exist
    /// is for the host to say.
    fn imports(&mut self) -> Result<(), ShapeError> {
        for _ in 0..self.count("imports", MAX_IMPORTS)? {
            for _ in ["module", "name"] {
                let len = self.number()?;
                self.take(len)?;
            }
            match self.byte()? {
                0 => {
                    self.number()?;
                }
                // The host names it in its error.
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn limits(&mut self, what: &'static str) -> Result<(u64, Option<u64>), ShapeError> {
        let flags = self.number()?;
        if u64::from(flags) > FLAG_MAXIMUM {
            return Err(ShapeError::Unsupported(what));
        }
        let initial = u64::from(self.number()?);
        let maximum = if flags == 0 { None } else { Some(u64::from(self.number()?)) };
        Ok((initial, maximum))
    }

    fn tables(&mut self) -> Result<Vec<Table>, ShapeError> {
        let mut tables = Vec::new();
        for _ in 0..self.count("tables", MAX_TABLES)? {
            let reference = self.byte()?;
            if !TABLE_REFERENCES.contains(&reference) {
                return Err(ShapeError::Unsupported("a table of a type of its own"));
            }
            let (initial, maximum) = self.limits("a shared table, or one of 64 bits")?;
            let limit = u64::from(MAX_TABLE_ELEMENTS);
            if initial > limit {
                return Err(too_many("entries in a table", initial, limit));
            }
            tables.push(Table { reference, initial, maximum });
        }
        self.end()?;
        Ok(tables)
    }

    fn memory(&mut self, section: Range<usize>) -> Result<Memory, ShapeError> {
        if self.number()? != 1 {
            return Err(ShapeError::Unsupported("no memory of its own, or several"));
        }
        let (initial, maximum) = self.limits("a shared memory, or one of 64 bits")?;
        self.end()?;
        Ok(Memory { section, initial, maximum })
    }

    fn tags(&mut self, types: &Types) -> Result<(), ShapeError> {
        for _ in 0..self.count("kinds of exceptions", MAX_TAGS)? {
            if self.byte()? != 0 {
                return Err(ShapeError::Malformed);
            }
            let index = self.number()?;
            match types.0.get(index as usize) {
                Some(Some(parameters)) if *parameters <= MAX_TAG_PARAMETERS => {}
                Some(Some(parameters)) => {
                    let limit = u64::from(MAX_TAG_PARAMETERS);
                    return Err(too_many("values in an exception", u64::from(*parameters), limit));
                }
                Some(None) => return Err(ShapeError::Unsupported("exceptions that carry other values than numbers")),
                None => return Err(ShapeError::Malformed),
            }
        }
        Ok(())
    }

    /// The bytes of all functions.
    fn code(&mut self) -> Result<u64, ShapeError> {
        let mut total = 0;
        for _ in 0..self.count("functions", MAX_FUNCTIONS)? {
            let bytes = self.count("bytes in one function", MAX_BODY_BYTES)?;
            total += u64::from(bytes);
            let mut body = Reader { rest: self.take(bytes)? };
            let mut locals = 0;
            for _ in 0..body.number()? {
                locals += u64::from(body.number()?);
                body.value()?;
                if locals > u64::from(MAX_LOCALS) {
                    return Err(too_many("locals in one function", locals, u64::from(MAX_LOCALS)));
                }
            }
        }
        self.end()?;
        Ok(total)
    }

    fn end(&self) -> Result<(), ShapeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(ShapeError::Malformed) }
    }
}

fn too_many(what: &'static str, found: u64, limit: u64) -> ShapeError {
    ShapeError::TooMany { what, found, limit }
}

#[cfg(all(test, not(target_family = "wasm")))]
#[allow(clippy::unwrap_used)]
mod tests;
