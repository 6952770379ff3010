//! What the Worker answers. Bytes travel beside it, so that they are copied once.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use webmesh_node::driver::HostOutput;
use webmesh_protocol::io::{Event, NotStored, ReadError, ReadId, Token};
use webmesh_protocol::message::Response;
use webmesh_protocol::{Hash, JobId, TaskId};

/// The result of an action.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// [`HostOutput::Respond`]; the body is the answer's.
    Respond { token: Token, response: Response },
    /// [`Event::BucketRead`], with the end of each task's records in the body.
    BucketRead { read: ReadId, ends: Result<Vec<u32>, ReadError> },
    /// [`Event::StoreFailed`].
    StoreFailed { job: JobId, why: String },
    /// [`Event::OutputStored`].
    OutputStored { job: JobId, task: TaskId, result: Result<(), NotStored> },
    /// [`Event::BlobLoaded`]; the body is the blob, if there is one.
    BlobLoaded { hash: Hash, found: bool },
    /// [`Event::InputLost`], and the requester, which gets the answer that the input is missing.
    InputLost { index: Hash, why: String, requester: Requester },
}

/// The requester of a lost input.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Requester {
    /// A peer, with this token.
    Peer(Token),
    /// The engine, for this blob.
    Engine(Hash),
}

impl Report {
    /// The report for an output, with its body; `None` for an output that the Worker does not produce.
    pub(super) fn of(output: HostOutput) -> Option<(Self, Vec<Bytes>)> {
        Some(match output {
            HostOutput::Respond { token, response, body } => (Self::Respond { token, response }, vec![body]),
            HostOutput::Event(Event::BucketRead { read, records: Ok(records) }) => {
                let ends = records.iter().scan(0, |end, part| {
                    *end += part.len() as u32;
                    Some(*end)
                });
                (Self::BucketRead { read, ends: Ok(ends.collect()) }, records)
            }
            HostOutput::Event(Event::BucketRead { read, records: Err(why) }) => {
                (Self::BucketRead { read, ends: Err(why) }, vec![])
            }
            HostOutput::Event(Event::StoreFailed { job, why }) => (Self::StoreFailed { job, why }, vec![]),
            HostOutput::Event(Event::OutputStored { job, task, result }) => {
                (Self::OutputStored { job, task, result }, vec![])
            }
            HostOutput::Event(Event::BlobLoaded { hash, bytes }) => {
                (Self::BlobLoaded { hash, found: bytes.is_some() }, bytes.into_iter().collect())
            }
            HostOutput::Event(_) => return None,
        })
    }

    /// The outputs that the report stands for.
    pub(super) fn into_outputs(self, body: Bytes) -> Vec<HostOutput> {
        let event = match self {
            Self::Respond { token, response } => {
                return vec![HostOutput::Respond { token, response, body }];
            }
            Self::BucketRead { read, ends } => {
                let records = ends.map(|ends| {
                    let mut start = 0;
                    let cut = |end: u32| body.slice(std::mem::replace(&mut start, end as usize)..end as usize);
                    ends.into_iter().map(cut).collect()
                });
                Event::BucketRead { read, records }
            }
            Self::StoreFailed { job, why } => Event::StoreFailed { job, why },
            Self::OutputStored { job, task, result } => Event::OutputStored { job, task, result },
            Self::BlobLoaded { hash, found } => Event::BlobLoaded { hash, bytes: found.then_some(body) },
            Self::InputLost { index, why, requester } => {
                let missing = match requester {
                    Requester::Peer(token) => {
                        HostOutput::Respond { token, response: Response::Missing, body: Bytes::new() }
                    }
                    Requester::Engine(hash) => HostOutput::Event(Event::BlobLoaded { hash, bytes: None }),
                };
                return vec![HostOutput::Event(Event::InputLost { index, why }), missing];
            }
        };
        vec![HostOutput::Event(event)]
    }
}

/// An action or a report as CBOR. Both sides come from one build, so there is no version to negotiate.
pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, String> {
    cbor4ii::serde::to_vec(Vec::new(), value).map_err(|e| e.to_string())
}

pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    cbor4ii::serde::from_slice(bytes).map_err(|e| e.to_string())
}
