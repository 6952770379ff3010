//! Planning in small steps, for a thread that others wait for: the Worker that holds a tab's storage.

use super::cut::{self, Cuts, Span};
use super::error::InputError;
use super::files::Files;
use super::group;
use super::note::Notes;
use super::source::{Hashed, Unhashed};
use super::{Options, Plan, Planned, check_chunk};
use crate::platform::FileList;

/// A plan in progress.
#[derive(Debug)]
pub struct Planning {
    options: Box<Options>,
    /// Bytes in total.
    of: u64,
    stage: Stage,
    notes: Notes,
}

/// The result of a step.
#[derive(Debug)]
pub enum Step {
    /// There is more to read.
    Further(Planning, Planned),
    /// Everything is read.
    Done(Plan),
}

#[derive(Debug)]
enum Stage {
    Cutting { files: Files, spans: Vec<Span>, cuts: Vec<Cuts>, window: Vec<u8> },
    Hashing { packs: Unhashed, hashed: Vec<Hashed>, bytes: u64, buffer: Vec<u8> },
}

impl Planning {
    /// Starts a plan; nothing is read yet.
    ///
    /// # Errors
    /// A file that is too large to stay whole, or invalid options.
    pub fn new(files: FileList, options: &Options) -> Result<Self, InputError> {
        check_chunk(options)?;
        let files = Files::new(files);
        let of = files.bytes();
        let spans = cut::spans(&files, options)?;
        let stage = Stage::Cutting { files, spans, cuts: Vec::new(), window: cut::window() };
        Ok(Self { options: Box::new(options.clone()), of, stage, notes: Notes::default() })
    }

    /// Reads a pack, or some mebibytes in search of cuts; if chunks are longer than the maximum line, all cuts are
    /// found in one step.
    ///
    /// # Errors
    /// An unusable file, or invalid options.
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
