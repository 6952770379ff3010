//! Planning a piece at a time, for a thread that others wait for: the Worker that holds what a tab keeps.

use super::cut::{self, Cuts, Span};
use super::error::InputError;
use super::files::Files;
use super::group;
use super::note::Notes;
use super::source::{Hashed, Unhashed};
use super::{Options, Plan, Planned, check_chunk};
use crate::platform::FileList;

/// A plan in the making.
#[derive(Debug)]
pub struct Planning {
    options: Box<Options>,
    /// Bytes in all.
    of: u64,
    stage: Stage,
    notes: Notes,
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
    Hashing { packs: Unhashed, hashed: Vec<Hashed>, bytes: u64, buffer: Vec<u8> },
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
        Ok(Self { options: Box::new(options.clone()), of, stage, notes: Notes::default() })
    }

    /// Reads a pack, or some mebibytes for the places to cut at; where chunks are longer than a line may be, all of them
    /// in one step.
    ///
    /// # Errors
    /// A file that cannot be used, or options that cannot be.
    pub fn step(self) -> Result<Step, InputError> {
        let Self { options, of, stage, mut notes } = self;
        let (stage, bytes) = match stage {
            Stage::Cutting { files, spans, mut cuts, mut window } => {
                let stage = if let Some(span) = spans.get(cuts.len()) {
                    cuts.push(span.cut(&files, &options, &mut window)?);
                    Stage::Cutting { files, spans, cuts, window }
                } else {
                    let documents = cut::assemble(&files, &spans, cuts, &options, &mut notes)?;
                    let groups = group::group(&documents, options.docs_per_task)?;
                    let packs = Unhashed::new(files, documents, &groups);
                    Stage::Hashing { packs, hashed: Vec::new(), bytes: 0, buffer: Unhashed::buffer() }
                };
                (stage, 0)
            }
            Stage::Hashing { packs, hashed, .. } if hashed.len() == packs.len() => {
                let source = packs.finish(hashed, &mut notes);
                return Ok(Step::Done(Plan::new(source, notes)));
            }
            Stage::Hashing { packs, mut hashed, mut bytes, mut buffer } => {
                let pack = packs.hash(hashed.len(), &mut buffer)?;
                bytes += pack.bytes;
                hashed.push(pack);
                (Stage::Hashing { packs, hashed, bytes, buffer }, bytes)
            }
        };
        Ok(Step::Further(Self { options, of, stage, notes }, Planned { bytes, of }))
    }
}
