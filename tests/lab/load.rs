//! Steady traffic from one host: every answer is looked at, every failure is kept.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use bellhop_e2e::{Host, Reply, client};

/// A pause of each connection between two requests, so that tests leave the machine to one another.
const PAUSE: Duration = Duration::from_millis(2);

/// Connections that send request after request until told to stop.
pub(crate) struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicU64,
    dialled: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Load {
    /// `connections` from `host` to `to`, each request with this routing key. `check` looks at each answer.
    pub(crate) fn start(
        host: &Host,
        to: SocketAddr,
        connections: usize,
        key: &str,
        check: impl Fn(&Reply) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let (host, theirs, check, baggage) =
            (host.clone(), Arc::clone(&shared), Arc::new(check), format!("routing-key={key}"));
        let thread = thread::spawn(move || {
            client::block_on(&host, async || {
                let mut tasks = tokio::task::JoinSet::new();
                for _ in 0..connections {
                    let (shared, check, baggage) = (Arc::clone(&theirs), Arc::clone(&check), baggage.clone());
                    tasks.spawn(async move {
                        while !shared.stop.load(Ordering::Relaxed) {
                            if let Err(failure) = shared.one_connection(to, &baggage, &*check).await {
                                shared.fail(&failure);
                                // A peer that fails at once is not asked a million times.
                                tokio::time::sleep(10 * PAUSE).await;
                            }
                        }
                    });
                }
                while tasks.join_next().await.is_some() {}
                Ok(())
            })
        });
        Self { shared, thread: Some(thread) }
    }

    /// How many answers have come.
    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Waits for `more` answers.
    pub(crate) fn flows(&self, more: u64) -> Result<()> {
        let from = self.answered();
        bellhop_e2e::wait::until("traffic to flow", client::LIMIT, || {
            ensure!(self.answered() >= from + more, "{:?}", self.failures());
            Ok(())
        })
    }

    fn failures(&self) -> Vec<String> {
        self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets requests under way end, and fails if any request ever failed. Gives the numbers of answers and connections.
    pub(crate) fn stop(mut self) -> Result<(u64, u64)> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("stopped already")?;
        thread.join().map_err(|_| anyhow!("the load panicked"))??;
        let failures = self.failures();
        let answered = self.answered();
        ensure!(failures.is_empty(), "{} of {answered} failed, at first: {}", failures.len(), failures[0]);
        Ok((answered, self.shared.dialled.load(Ordering::Relaxed)))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    /// Requests on one connection, until its server announces that it closes it.
    async fn one_connection(
        &self,
        to: SocketAddr,
        baggage: &str,
        check: &(dyn Fn(&Reply) -> Result<()> + Send + Sync),
    ) -> Result<()> {
        let mut sender = client::connect(to).await?;
        self.dialled.fetch_add(1, Ordering::Relaxed);
        while !self.stop.load(Ordering::Relaxed) {
            let request = client::request(to, "/", &[("baggage", baggage)])?;
            let exchange = async { client::whole(sender.send_request(request).await?).await };
            let reply =
                tokio::time::timeout(client::LIMIT, exchange).await.context("no answer in time")??;
            check(&reply)?;
            self.answered.fetch_add(1, Ordering::Relaxed);
            if reply.header("connection").eq_ignore_ascii_case("close") {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    fn fail(&self, failure: &anyhow::Error) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{failure:?}"));
    }
}
