//! Result records: `varint key_len, key, varint value_len, value`, as the guest interface defines.

use webmesh_protocol::segment::take_varint;

/// Why bytes are not valid result records.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// They end within a record, or a length is invalid.
    #[error("record {record} is truncated or has wrong lengths")]
    Cut {
        /// The record, counted from 0.
        record: u64,
    },
    /// They are not sorted by key and then by value.
    #[error("record {record} is out of order")]
    Order {
        /// The record, counted from 0.
        record: u64,
    },
    /// A value that would take more than one line.
    #[error("the value of record {record} contains a line break, which is not allowed in a result")]
    LineBreak {
        /// The record, counted from 0.
        record: u64,
    },
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Record<'a> {
    pub(super) key: &'a [u8],
    /// The value, as JSON text.
    pub(super) value: &'a [u8],
}

/// Takes a record from the front of `bytes`; `None` if it is incomplete.
pub(super) fn take<'a>(bytes: &mut &'a [u8]) -> Option<Record<'a>> {
    let mut rest = *bytes;
    let key = take_part(&mut rest)?;
    let value = take_part(&mut rest)?;
    *bytes = rest;
    Some(Record { key, value })
}

fn take_part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = match bytes.split_first()? {
        (&len, rest) if len < 0x80 => (usize::from(len), rest),
        _ => {
            let mut rest = *bytes;
            (usize::try_from(take_varint(&mut rest).ok()?).ok()?, rest)
        }
    };
    let (part, rest) = rest.split_at_checked(len)?;
    *bytes = rest;
    Some(part)
}

/// Checks the output of one task: complete records, sorted, one line each.
pub(super) fn check(bytes: &[u8]) -> Result<(), RecordError> {
    let mut rest = bytes;
    let mut before: Option<Record<'_>> = None;
    for record in 0.. {
        if rest.is_empty() {
            break;
        }
        let now = take(&mut rest).ok_or(RecordError::Cut { record })?;
        if before.is_some_and(|before| before > now) {
            return Err(RecordError::Order { record });
        }
        if now.value.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            return Err(RecordError::LineBreak { record });
        }
        before = Some(now);
    }
    Ok(())
}

/// Appends a key in its form within a line: tab, newline, carriage return and backslash as `\t \n \r \\`, all other
/// bytes unchanged, whether UTF-8 or not.
pub(super) fn put_key(out: &mut Vec<u8>, key: &[u8]) {
    let escape = |byte: u8| match byte {
        b'\t' => Some(b't'),
        b'\n' => Some(b'n'),
        b'\r' => Some(b'r'),
        b'\\' => Some(b'\\'),
        _ => None,
    };
    let mut rest = key;
    while let Some((at, letter)) = rest.iter().enumerate().find_map(|(i, &b)| Some((i, escape(b)?))) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[b'\\', letter]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}
