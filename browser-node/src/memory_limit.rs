//! The memory of a task, bounded where it is declared.
//!
//! A browser lets a module's memory grow to whatever the module says. So the module is made to say less before it is
//! compiled: `memory.grow` beyond the bound then fails, and the guest's allocator with it, as it does natively.

use webmesh_protocol::segment::{put_varint, take_varint};

/// Bytes of a page of WebAssembly's memory.
pub const PAGE: u64 = 64 * 1024;

const HEADER: usize = 8;
const SECTION_MEMORY: u8 = 5;
const FLAG_MAXIMUM: u64 = 1;

/// Why a module's memory cannot be bounded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// It is no module, or a damaged one.
    #[error("the module is damaged")]
    Malformed,
    /// It wants a kind of memory that jobs have no use for.
    #[error("the module has no memory of its own, or one that is shared or of 64 bits")]
    Unsupported,
    /// It starts with more than a task may have.
    #[error("the module needs {needed} bytes of memory to start, and its tasks may have {limit}")]
    TooLarge {
        /// Bytes that it starts with.
        needed: u64,
        /// Bytes that a task may have.
        limit: u64,
    },
}

/// The module with its one memory bounded to `limit` bytes.
///
/// # Errors
/// [`LimitError`] for what is no module that can run within the limit.
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

/// The memory section: how many memories, and of each its flags, its first pages and, if bounded, its most.
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
    fn a_memory_is_bounded_and_nothing_else_changes() {
        assert_eq!(bound(&module("(memory 2)"), 10 * PAGE), Ok(module("(memory 2 10)")));
        assert_eq!(bound(&module("(memory 2 1000)"), 10 * PAGE), Ok(module("(memory 2 10)")));
    }

    #[test]
    fn a_bound_of_the_modules_own_that_is_lower_stays() {
        assert_eq!(bound(&module("(memory 2 3)"), 10 * PAGE), Ok(module("(memory 2 3)")));
    }

    #[test]
    fn a_module_that_starts_with_too_much_is_refused() {
        let refused = bound(&module("(memory 11)"), 10 * PAGE);
        assert_eq!(refused, Err(LimitError::TooLarge { needed: 11 * PAGE, limit: 10 * PAGE }));
    }

    #[test]
    fn invalid_modules_are_refused() {
        let whole = module("(memory 2)");
        for end in 0..whole.len() {
            // Cut anywhere, it is either refused or was cut behind its memory.
            let _ = bound(&whole[..end], PAGE);
        }
        assert_eq!(bound(b"\0asm", PAGE), Err(LimitError::Malformed));
        assert_eq!(bound(&wat::parse_str("(module)").expect("it is valid"), PAGE), Err(LimitError::Unsupported));
        assert_eq!(bound(b"\0asm\x01\0\0\0\x05\xff\xff\xff\xff\xff\xff", PAGE), Err(LimitError::Malformed));
    }
}
