//! Limits the memory of a task by rewriting its module's declaration.
//!
//! A browser lets a module's memory grow to its declared maximum. So that maximum is lowered before the module is
//! compiled: `memory.grow` beyond it then fails, and the guest's allocator with it, as it does natively.

use webmesh_protocol::segment::{put_varint, take_varint};

/// Bytes of a page of WebAssembly's memory.
pub const PAGE: u64 = 64 * 1024;

const HEADER: usize = 8;
const SECTION_MEMORY: u8 = 5;
const FLAG_MAXIMUM: u64 = 1;

/// Why a module's memory cannot be limited.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// It is not a module, or a damaged one.
    #[error("the module is damaged")]
    Malformed,
    /// It declares a kind of memory that jobs do not support.
    #[error("the module has no memory of its own, or one that is shared or of 64 bits")]
    Unsupported,
    /// Its initial memory exceeds the limit of a task.
    #[error("the module needs {needed} bytes of memory to start, more than its tasks' limit of {limit}")]
    TooLarge {
        /// Its initial memory in bytes.
        needed: u64,
        /// The limit of a task in bytes.
        limit: u64,
    },
}

/// The module with the maximum of its one memory lowered to `limit` bytes.
///
/// # Errors
/// [`LimitError`] if it is not a module that can run within the limit.
pub fn bound(module: &[u8], limit: u64) -> Result<Vec<u8>, LimitError> {
    let mut rest = module.get(HEADER..).ok_or(LimitError::Malformed)?;
    while let Some((&id, after)) = rest.split_first() {
        let start = module.len() - rest.len();
        let mut body = after;
        let len = varint(&mut body)?;
        let len = usize::try_from(len).ok().filter(|&len| len <= body.len()).ok_or(LimitError::Malformed)?;
        if id == SECTION_MEMORY {
            let section = bounded(&body[..len], limit)?;
            let mut out = Vec::with_capacity(module.len() + 8);
            out.extend_from_slice(&module[..start]);
            out.push(SECTION_MEMORY);
            put_varint(&mut out, section.len() as u64);
            out.extend_from_slice(&section);
            out.extend_from_slice(&body[len..]);
            return Ok(out);
        }
        rest = &body[len..];
    }
    Err(LimitError::Unsupported)
}

/// The memory section: the number of memories, and for each its flags, its initial pages and, if present, its maximum.
fn bounded(mut section: &[u8], limit: u64) -> Result<Vec<u8>, LimitError> {
    let (count, flags, first) = (varint(&mut section)?, varint(&mut section)?, varint(&mut section)?);
    if count != 1 || flags > FLAG_MAXIMUM {
        return Err(LimitError::Unsupported);
    }
    let most = if flags == FLAG_MAXIMUM { varint(&mut section)? } else { u64::MAX };
    if !section.is_empty() {
        return Err(LimitError::Malformed);
    }
    let pages = limit / PAGE;
    if first > pages {
        return Err(LimitError::TooLarge { needed: first.saturating_mul(PAGE), limit });
    }
    let mut out = Vec::new();
    [1, FLAG_MAXIMUM, first, most.min(pages)].into_iter().for_each(|number| put_varint(&mut out, number));
    Ok(out)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, LimitError> {
    take_varint(bytes).map_err(|_| LimitError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(memory: &str) -> Vec<u8> {
        wat::parse_str(format!("(module {memory} (func (export \"f\") (result i32) memory.size))"))
            .expect("it is valid")
    }

    #[test]
    fn a_memory_is_limited_and_nothing_else_changes() {
        assert_eq!(bound(&module("(memory 2)"), 10 * PAGE), Ok(module("(memory 2 10)")));
        assert_eq!(bound(&module("(memory 2 1000)"), 10 * PAGE), Ok(module("(memory 2 10)")));
    }

    #[test]
    fn a_lower_maximum_of_the_module_stays() {
        assert_eq!(bound(&module("(memory 2 3)"), 10 * PAGE), Ok(module("(memory 2 3)")));
    }

    #[test]
    fn a_module_with_too_much_initial_memory_is_refused() {
        let refused = bound(&module("(memory 11)"), 10 * PAGE);
        assert_eq!(refused, Err(LimitError::TooLarge { needed: 11 * PAGE, limit: 10 * PAGE }));
    }

    #[test]
    fn invalid_modules_are_refused() {
        let whole = module("(memory 2)");
        for end in 0..whole.len() {
            // Cut anywhere, it is either refused or was cut after its memory section.
            let _ = bound(&whole[..end], PAGE);
        }
        assert_eq!(bound(b"\0asm", PAGE), Err(LimitError::Malformed));
        assert_eq!(bound(&wat::parse_str("(module)").expect("it is valid"), PAGE), Err(LimitError::Unsupported));
        assert_eq!(bound(b"\0asm\x01\0\0\0\x05\xff\xff\xff\xff\xff\xff", PAGE), Err(LimitError::Malformed));
    }
}
