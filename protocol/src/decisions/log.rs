//! The encoding of a log: batches one after another, each behind its length and a checksum.
//!
//! A batch that was written in part, or in which a bit has flipped since, is found by its checksum; one that was
//! changed on purpose, by its certificate or by the hash in the batch after it. The log ends before such a batch.

use super::batch::{Certified, Decision};
use super::state::{Refused, State};
use crate::codec::{self, Wire};
use crate::id::Hash;

/// Bytes before each batch: a `u32` length, and the first bytes of a hash over length and batch.
const HEAD: usize = 4 + CHECKSUM;
/// Length of the checksum in bytes: enough to detect accidental damage. The certificate protects against intent.
const CHECKSUM: usize = 8;

/// The result of reading a log back.
#[derive(Debug)]
pub struct Replayed {
    /// The state after its intact batches; `None` if not even the first is intact.
    pub state: Option<State>,
    /// Length of those batches in bytes; whatever follows must be cut off.
    pub kept: usize,
    /// The damage at which the log was cut; `None` if it was read to its end.
    pub cut: Option<Cut>,
}

/// The place where a log was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes that are lost.
    pub lost: usize,
    /// Number of intact batches before it.
    pub batches: u64,
    /// Tasks accepted by intact batches behind the damage, as far as those can be found.
    pub tasks: u32,
    /// What is wrong with the next batch, for people.
    pub why: String,
}

/// Encodes a batch for appending it to a log.
pub fn frame(certified: &Certified) -> Vec<u8> {
    let body = codec::encode(certified);
    let len = (body.len() as u32).to_le_bytes();
    [&len[..], &checksum(len, &body), &body].concat()
}

/// Reads a log back: the state after all batches before the first that is damaged or invalid.
pub fn replay(bytes: &[u8]) -> Replayed {
    let mut state: Option<State> = None;
    let (mut kept, mut batches) = (0, 0);
    let why = loop {
        let rest = &bytes[kept..];
        if rest.is_empty() {
            return Replayed { state, kept, cut: None };
        }
        let (certified, len) = match take_frame(rest) {
            Ok(found) => found,
            Err(why) => break why,
        };
        let taken = match &mut state {
            Some(state) => state.apply(&certified),
            none => State::open(&certified).map(|opened| {
                none.replace(opened);
            }),
        };
        if let Err(why) = taken {
            // An intact batch that is invalid may have changed the state in part.
            state = if batches > 0 && !matches!(why, Refused::OutOfOrder | Refused::Invalid(_)) {
                replay(&bytes[..kept]).state
            } else {
                state
            };
            break why.to_string();
        }
        kept += len;
        batches += 1;
    };
    let rest = &bytes[kept..];
    Replayed { state, kept, cut: Some(Cut { lost: rest.len(), batches, tasks: accepted_behind(rest), why }) }
}

/// The number of tasks accepted by intact batches behind a damaged one whose length is intact.
fn accepted_behind(mut bytes: &[u8]) -> u32 {
    let mut tasks = 0u32;
    while let Some(size) = bytes.first_chunk().map(|len| u32::from_le_bytes(*len) as usize) {
        let batch = take_frame(bytes).ok().and_then(|(certified, _)| certified.peek().ok());
        for decision in batch.into_iter().flat_map(|batch| batch.decisions) {
            if let Decision::Accept { attempts, .. } | Decision::Output { attempts, .. } = decision {
                tasks = tasks.saturating_add(attempts.len() as u32);
            }
        }
        let Some(rest) = bytes.get(HEAD + size..) else { break };
        bytes = rest;
    }
    tasks
}

/// Decodes the first batch; returns it with its length in bytes.
pub(crate) fn take_frame(bytes: &[u8]) -> Result<(Certified, usize), String> {
    let torn = || "it was not written whole".to_owned();
    let (head, rest) = bytes.split_at_checked(HEAD).ok_or_else(torn)?;
    let mut len = [0; 4];
    len.copy_from_slice(&head[..4]);
    let size = u32::from_le_bytes(len) as usize;
    if size > Certified::MAX_BYTES {
        return Err("its length is damaged".to_owned());
    }
    let body = rest.get(..size).ok_or_else(torn)?;
    if head[4..] != checksum(len, body) {
        return Err("its checksum does not match".to_owned());
    }
    let certified = codec::decode(body).map_err(|why| why.to_string())?;
    Ok((certified, HEAD + size))
}

fn checksum(len: [u8; 4], body: &[u8]) -> [u8; CHECKSUM] {
    let hash = Hash::of_parts("webmesh 1 log entry", &[&len, body]);
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&hash.0[..CHECKSUM]);
    sum
}
