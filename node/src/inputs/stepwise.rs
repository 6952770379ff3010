//! Planning a piece at a time, for a thread that others wait for: the Worker that holds what a tab keeps.

use webmesh_protocol::manifest::BlobRef;

use super::cut::{self, Cuts, Span};
use super::error::InputError;
use super::files::Files;
use super::group;
use super::source::Unhashed;
use super::{Options, Plan, Planned, check_chunk};
use crate::platform::FileList;

/// A plan in the making.
#[derive(Debug)]
pub struct Planning {
    options: Options,
    /// Bytes in all.
    of: u64,
    stage: Stage,
}

/// What a step has come to.
#[derive(Debug)]
pub enum Step {
    /// There is more to read.
    Further(Planning, Planned),
    /// All is read.
    Done(Plan),
}

#[derive(Debug)]
enum Stage {
    Cutting { files: Files, spans: Vec<Span>, cuts: Vec<Cuts>, window: Vec<u8> },
    Hashing { packs: Unhashed, blobs: Vec<BlobRef>, bytes: u64, buffer: Vec<u8> },
}

impl Planning {
    /// Nothing is read yet.
    ///
    /// # Errors
    /// A file that is too large to stay whole, or options that cannot be.
    pub fn new(files: FileList, options: &Options) -> Result<Self, InputError> {
        check_chunk(options)?;
        let files = Files::new(files);
        let of = files.bytes();
        let spans = cut::spans(&files, options)?;
        let stage = Stage::Cutting { files, spans, cuts: Vec::new(), window: cut::window() };
        Ok(Self { options: options.clone(), of, stage })
    }

    /// Reads a pack, or some mebibytes for the places to cut at; where chunks are longer than a line may be, all of them
    /// in one step.
    ///
    /// # Errors
    /// A file that cannot be used, or options that cannot be.
    pub fn step(self) -> Result<Step, InputError> {
        let Self { options, of, stage } = self;
        let (stage, bytes) = match stage {
            Stage::Cutting { files, spans, mut cuts, mut window } => {
                let stage = if let Some(span) = spans.get(cuts.len()) {
                    cuts.push(span.cut(&files, &options, &mut window)?);
                    Stage::Cutting { files, spans, cuts, window }
                } else {
                    let documents = cut::assemble(&files, &spans, cuts, &options)?;
                    let groups = group::group(&documents, options.docs_per_task)?;
                    let packs = Unhashed::new(files, documents, &groups);
                    Stage::Hashing { packs, blobs: Vec::new(), bytes: 0, buffer: Unhashed::buffer() }
                };
                (stage, 0)
            }
            Stage::Hashing { packs, blobs, .. } if blobs.len() == packs.len() => {
                return Ok(Step::Done(packs.finish(blobs).into()));
            }
            Stage::Hashing { packs, mut blobs, mut bytes, mut buffer } => {
                let (blob, read) = packs.hash(blobs.len(), &mut buffer)?;
                blobs.push(blob);
                bytes += read;
                (Stage::Hashing { packs, blobs, bytes, buffer }, bytes)
            }
        };
        Ok(Step::Further(Self { options, of, stage }, Planned { bytes, of }))
    }
}
