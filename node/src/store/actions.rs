//! Carries out the engine's actions on the segment store.

use bytes::Bytes;
use webmesh_protocol::io::{Event, ReadError, SegmentAction};
use webmesh_protocol::limits;
use webmesh_protocol::message::Response;

use super::segments::{SegmentStore, StoreError};
use crate::driver::HostOutput;

/// Carries out an action; returns its outcome, if its kind has one.
pub fn perform(store: &mut SegmentStore, action: SegmentAction) -> Option<HostOutput> {
    // A bucket that is here and cannot be read fails its task; segments that a new owner wants may still exist
    // elsewhere.
    let respond = |token, refuse: bool, answer: Result<(Response, Bytes), StoreError>| {
        let (response, body) = answer.unwrap_or_else(|why| {
            tracing::warn!("cannot read segments: {why}");
            (if refuse { Response::Refused(why.to_string()) } else { Response::Missing }, Bytes::new())
        });
        Some(HostOutput::Respond { token, response, body })
    };
    match action {
        SegmentAction::Stage { push, keep, body } => {
            // They were acknowledged already: the engine must know that they are lost.
            let lost = store.stage(&push, &keep, &body).err()?;
            Some(HostOutput::Event(Event::StoreFailed { job: push.job, why: lost.to_string() }))
        }
        SegmentAction::Drop { partition, attempt } => {
            store.drop_segment(partition, attempt);
            None
        }
        SegmentAction::ReadBucket { read, bucket, most } => {
            let records = store.read_bucket(&bucket, most).map_err(|why| match why {
                StoreError::TooLarge(bytes) => ReadError::TooLarge(bytes),
                why => ReadError::Failed(why.to_string()),
            });
            Some(HostOutput::Event(Event::BucketRead { read, records }))
        }
        SegmentAction::ServeBucket { token, bucket, from, most } => {
            let piece = match store.read_piece(&bucket, from, limits::BUCKET_PIECE, most) {
                // The requester decides what that means.
                Err(StoreError::TooLarge(bytes)) => Ok((Bytes::new(), bytes)),
                piece => piece,
            };
            respond(token, true, piece.map(|(piece, of)| (Response::Piece { of }, piece)))
        }
        SegmentAction::ServePull { token, partition, from } => {
            let pulled = store.pull(partition, from);
            respond(token, false, pulled.map(|(push, body, next)| (Response::Pulled { push, next }, body)))
        }
        SegmentAction::DropJob { job } => {
            store.drop_job(job);
            None
        }
    }
}
