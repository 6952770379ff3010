//! The segment store on a thread of its own, which handles actions in order.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread;

use tokio::sync::mpsc;
use webmesh_protocol::io::SegmentAction;

use crate::driver::HostOutput;
use crate::store::actions::perform;
use crate::store::segments::SegmentStore;

/// Bytes queued for staging above which the host counts as overloaded, so that peers wait until the disk has caught up.
const BACKLOG_BYTES: usize = 48 << 20;
/// Cost of an action besides its bytes, so that many small ones count too.
const ACTION_WEIGHT: usize = 512;

/// Handle of the segment store's thread.
pub(super) struct SegmentThread {
    actions: std_mpsc::Sender<SegmentAction>,
    backlog: Arc<AtomicUsize>,
}

impl SegmentThread {
    #[expect(
        clippy::disallowed_methods,
        reason = "bounded from outside: the driver stops reading from the network while `is_overloaded` says so, and \
                  what the engine asks for on its own is bounded by the units that it has in hand. A driver that waited \
                  here would wait for a thread that waits for it."
    )]
    pub(super) fn start(mut store: SegmentStore, sender: mpsc::Sender<HostOutput>) -> io::Result<Self> {
        let (actions, receiver) = std_mpsc::channel::<SegmentAction>();
        let backlog = Arc::new(AtomicUsize::new(0));
        let done = backlog.clone();
        thread::Builder::new().name("webmesh-segments".to_owned()).spawn(move || {
            for action in receiver {
                let weight = weight(&action);
                if let Some(output) = perform(&mut store, action) {
                    // Fails only if the driver has ended; then the channel of actions ends too.
                    let _ = sender.blocking_send(output);
                }
                done.fetch_sub(weight, Ordering::Relaxed);
            }
        })?;
        Ok(Self { actions, backlog })
    }

    pub(super) fn send(&self, action: SegmentAction) {
        self.backlog.fetch_add(weight(&action), Ordering::Relaxed);
        // Fails only if the thread has ended, which happens only with the process.
        let _ = self.actions.send(action);
    }

    pub(super) fn is_overloaded(&self) -> bool {
        self.backlog.load(Ordering::Relaxed) > BACKLOG_BYTES
    }
}

fn weight(action: &SegmentAction) -> usize {
    match action {
        SegmentAction::Stage { body, keep, .. } => ACTION_WEIGHT + body.len() + keep.len() * 8,
        _ => ACTION_WEIGHT,
    }
}
