//! Ctrl-C and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};

/// Ends at the first Ctrl-C or SIGTERM from now on. A second one ends the process at once, for whoever has no
/// patience with an orderly leave.
pub fn stop() -> impl Future<Output = ()> + Send {
    let (told, stop) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            tracing::warn!("signals cannot be heard; end this process with SIGKILL");
            return std::future::pending().await;
        };
        let mut told = Some(told);
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            match told.take() {
                // Nobody may be waiting any more.
                Some(told) => drop(told.send(())),
                None => std::process::exit(130),
            }
        }
    });
    async {
        if stop.await.is_err() {
            std::future::pending().await
        }
    }
}
