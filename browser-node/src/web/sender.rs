//! The way from what a tab does for its engine to the driver.

use tokio::sync::mpsc;
use webmesh_node::driver::HostOutput;
use webmesh_node::platform;

/// The host's channel to the driver. When it is full, outputs wait in a task, as no thread can block here.
#[derive(Clone)]
pub(super) struct Sender(mpsc::Sender<HostOutput>);

impl Sender {
    pub(super) fn new(sender: mpsc::Sender<HostOutput>) -> Self {
        Self(sender)
    }

    pub(super) fn send(&self, output: HostOutput) {
        let sender = self.0.clone();
        platform::spawn(async move {
            // Fails only if the driver has ended.
            let _ = sender.send(output).await;
        });
    }
}
