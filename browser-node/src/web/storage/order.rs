//! The messages between the two sides. Their bytes are sent separately, so that they are copied only once.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use webmesh_node::driver::HostOutput;
use webmesh_protocol::io::{Action, BucketRef, Event, ReadError, ReadId, Token};
use webmesh_protocol::message::{Push, Response};
use webmesh_protocol::split::Place;
use webmesh_protocol::{Hash, JobId};

/// A command for the Worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// [`Action::Stage`]; the body holds the segments.
    Stage { push: Push, keep: Vec<(u32, u16)> },
    /// [`Action::DropSegment`].
    DropSegment { job: JobId, stage: u8, partition: u16, task: u32, digest: Hash },
    /// [`Action::ReadBucket`].
    ReadBucket { read: u64, bucket: Bucket, most: u64 },
    /// [`Action::ServeBucket`].
    ServeBucket { token: u64, bucket: Bucket, from: u64, most: u64 },
    /// [`Action::ServePull`].
    ServePull { token: u64, job: JobId, stage: u8, partition: u16, from: u32 },
    /// [`Action::StoreOutput`]; the body holds the result.
    StoreOutput { job: JobId, task: u32 },
    /// [`Action::LoadBlob`], of an input.
    LoadBlob { hash: Hash },
    /// [`Action::ServeBlob`], of an input.
    ServeBlob { token: u64, hash: Hash },
    /// [`Action::DropJob`].
    DropJob { job: JobId },
}

/// [`BucketRef`]: job, stage, partition, run, width.
type Bucket = (JobId, u8, u16, u32, u32);

fn bucket((job, stage, partition, run, width): Bucket) -> BucketRef {
    BucketRef { job, stage, place: Place { partition, run, width } }
}

/// [`ReadError`]: the excessive number of bytes, or why nothing can be read.
type NotRead = Result<u64, String>;

fn not_read(why: NotRead) -> ReadError {
    match why {
        Ok(bytes) => ReadError::TooLarge(bytes),
        Err(why) => ReadError::Failed(why),
    }
}

impl Order {
    /// The order for an action that the Worker carries out, with its body.
    pub(super) fn of(action: Action) -> Option<(Self, Bytes)> {
        let parts = |b: BucketRef| (b.job, b.stage, b.place.partition, b.place.run, b.place.width);
        let alone = |order| Some((order, Bytes::new()));
        match action {
            Action::Stage { push, keep, body } => Some((Self::Stage { push, keep }, body)),
            Action::DropSegment { job, stage, partition, task, digest } => {
                alone(Self::DropSegment { job, stage, partition, task, digest })
            }
            Action::ReadBucket { read, bucket, most } => {
                alone(Self::ReadBucket { read: read.0, bucket: parts(bucket), most })
            }
            Action::ServeBucket { token, bucket, from, most } => {
                alone(Self::ServeBucket { token: token.0, bucket: parts(bucket), from, most })
            }
            Action::ServePull { token, job, stage, partition, from } => {
                alone(Self::ServePull { token: token.0, job, stage, partition, from })
            }
            Action::StoreOutput { job, task, bytes } => Some((Self::StoreOutput { job, task }, bytes)),
            Action::LoadBlob { hash } => alone(Self::LoadBlob { hash }),
            Action::ServeBlob { token, hash } => alone(Self::ServeBlob { token: token.0, hash }),
            Action::DropJob { job } => alone(Self::DropJob { job }),
            _ => None,
        }
    }

    /// The action that the order stands for.
    pub(super) fn into_action(self, body: Bytes) -> Action {
        match self {
            Self::Stage { push, keep } => Action::Stage { push, keep, body },
            Self::DropSegment { job, stage, partition, task, digest } => {
                Action::DropSegment { job, stage, partition, task, digest }
            }
            Self::ReadBucket { read, bucket: of, most } => {
                Action::ReadBucket { read: ReadId(read), bucket: bucket(of), most }
            }
            Self::ServeBucket { token, bucket: of, from, most } => {
                Action::ServeBucket { token: Token(token), bucket: bucket(of), from, most }
            }
            Self::ServePull { token, job, stage, partition, from } => {
                Action::ServePull { token: Token(token), job, stage, partition, from }
            }
            Self::StoreOutput { job, task } => Action::StoreOutput { job, task, bytes: body },
            Self::LoadBlob { hash } => Action::LoadBlob { hash },
            Self::ServeBlob { token, hash } => Action::ServeBlob { token: Token(token), hash },
            Self::DropJob { job } => Action::DropJob { job },
        }
    }
}

/// The result of an order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// [`HostOutput::Respond`]; the body is the answer's.
    Respond { token: u64, response: Response },
    /// [`Event::BucketRead`], with the end of each task's records in the body.
    BucketRead { read: u64, ends: Result<Vec<u32>, NotRead> },
    /// [`Event::StoreFailed`].
    StoreFailed { job: JobId, why: String },
    /// [`Event::OutputStored`].
    OutputStored { job: JobId, task: u32, result: Result<(), String> },
    /// [`Event::BlobLoaded`]; the body is the blob, if there is one.
    BlobLoaded { hash: Hash, found: bool },
    /// [`Event::InputLost`], and the requester, who is told that the input is not here.
    InputLost { index: Hash, why: String, asker: Asker },
}

/// The requester of a lost input.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Asker {
    /// A peer, with this token.
    Peer(u64),
    /// The engine, for this blob.
    Engine(Hash),
}

impl Report {
    /// The report for an output, with its body; `None` for an output that the Worker does not produce.
    pub(super) fn of(output: HostOutput) -> Option<(Self, Vec<Bytes>)> {
        Some(match output {
            HostOutput::Respond { token, response, body } => (Self::Respond { token: token.0, response }, vec![body]),
            HostOutput::Event(Event::BucketRead { read, records: Ok(records) }) => {
                let ends = records.iter().scan(0, |end, part| {
                    *end += part.len() as u32;
                    Some(*end)
                });
                (Self::BucketRead { read: read.0, ends: Ok(ends.collect()) }, records)
            }
            HostOutput::Event(Event::BucketRead { read, records: Err(why) }) => {
                let why = match why {
                    ReadError::TooLarge(bytes) => Ok(bytes),
                    ReadError::Failed(why) => Err(why),
                };
                (Self::BucketRead { read: read.0, ends: Err(why) }, vec![])
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
                return vec![HostOutput::Respond { token: Token(token), response, body }];
            }
            Self::BucketRead { read, ends } => {
                let records = ends.map(|ends| {
                    let mut start = 0;
                    let cut = |end: u32| body.slice(std::mem::replace(&mut start, end as usize)..end as usize);
                    ends.into_iter().map(cut).collect()
                });
                let records = records.map_err(not_read);
                Event::BucketRead { read: ReadId(read), records }
            }
            Self::StoreFailed { job, why } => Event::StoreFailed { job, why },
            Self::OutputStored { job, task, result } => Event::OutputStored { job, task, result },
            Self::BlobLoaded { hash, found } => Event::BlobLoaded { hash, bytes: found.then_some(body) },
            Self::InputLost { index, why, asker } => {
                let missing = match asker {
                    Asker::Peer(token) => {
                        let (token, response) = (Token(token), Response::Missing);
                        HostOutput::Respond { token, response, body: Bytes::new() }
                    }
                    Asker::Engine(hash) => HostOutput::Event(Event::BlobLoaded { hash, bytes: None }),
                };
                return vec![HostOutput::Event(Event::InputLost { index, why }), missing];
            }
        };
        vec![HostOutput::Event(event)]
    }
}

/// An order or a report as CBOR. Both sides come from one build, so there is no version to negotiate.
pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, String> {
    cbor4ii::serde::to_vec(Vec::new(), value).map_err(|e| e.to_string())
}

pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    cbor4ii::serde::from_slice(bytes).map_err(|e| e.to_string())
}
