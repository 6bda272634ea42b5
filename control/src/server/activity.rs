//! What goes on on a connection: which requests are served, and for how long there has been none.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};

#[derive(Debug, Clone, Copy, Default)]
struct Going {
    begun: bool,
    open: usize,
}

/// The requests of a connection.
#[derive(Debug, Clone)]
pub(super) struct Activity(watch::Sender<Going>);

/// A request that is served, to the end of its answer.
#[derive(Debug)]
pub(super) struct Open(watch::Sender<Going>);

impl Activity {
    pub(super) fn none() -> Self {
        Self(watch::Sender::default())
    }

    /// A request whose head is there.
    pub(super) fn begin(&self) -> Open {
        self.0.send_modify(|going| {
            going.begun = true;
            going.open += 1;
        });
        Open(self.0.clone())
    }

    /// Returns why the connection is of no use: no request came at first, or none for long after all others had ended.
    pub(super) fn lacking(
        &self,
        first: Duration,
        later: Duration,
    ) -> impl Future<Output = &'static str> + use<> {
        let mut seen = self.0.subscribe();
        async move {
            let begun = async { seen.wait_for(|going| going.begun).await.is_ok() };
            if timeout(first, begun).await.is_err() {
                return "no request in time";
            }
            // without a sender nothing is served any more, and the connection ends by itself
            while seen.wait_for(|going| going.open == 0).await.is_ok() {
                // a request that came and went meanwhile is a change too
                match timeout(later, seen.changed()).await {
                    Err(_) => return "no request for long",
                    Ok(Err(_)) => break,
                    Ok(Ok(())) => {}
                }
            }
            std::future::pending().await
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|going| going.open = going.open.saturating_sub(1));
    }
}
