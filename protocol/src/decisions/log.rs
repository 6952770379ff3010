//! A log as bytes: batches one after another, each behind its length and a checksum.
//!
//! A batch that was written in part, or in which a bit has flipped since, is found by its checksum; one that somebody
//! changed on purpose, by its certificate or by the hash that the batch after it names. The log ends before it.

use super::batch::{Certified, Decision};
use super::state::{Refused, State};
use crate::codec::{self, Wire};
use crate::id::Hash;

/// Bytes before each batch: a `u32` length, and the beginning of a hash over length and batch.
const HEAD: usize = 4 + CHECKSUM;
/// Bytes of the checksum: enough that an accident is not missed. Against intent there is the certificate.
const CHECKSUM: usize = 8;

/// A log that was read back.
#[derive(Debug)]
pub struct Replayed {
    /// The state that its whole batches give; `None` where not even the first is whole.
    pub state: Option<State>,
    /// How many bytes those batches take; whatever stands behind them is to be cut off.
    pub kept: usize,
    /// Why the log ends there, where that is not its end.
    pub cut: Option<Cut>,
}

/// Where a log was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes that are lost.
    pub lost: usize,
    /// Whole batches before.
    pub batches: u64,
    /// Tasks that whole batches behind the damage accept, as far as those can be found.
    pub tasks: u32,
    /// What was wrong with the next one, for people.
    pub why: String,
}

/// A batch as it is appended to a log.
pub fn frame(certified: &Certified) -> Vec<u8> {
    let body = codec::encode(certified);
    let len = (body.len() as u32).to_le_bytes();
    [&len[..], &checksum(len, &body), &body].concat()
}

/// Reads a log back: the state that follows from all batches up to the first that is damaged or does not follow.
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
            // What is whole but does not follow may have changed the state in part.
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

/// How many tasks are accepted by the whole batches behind one that is damaged, if its length is not.
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

/// Takes the first batch, and says how many bytes it takes.
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
        return Err("its checksum does not fit it".to_owned());
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
