//! Steady traffic on a loopback address, over HTTP/1 and HTTP/2: every answer is looked at, every failure is kept.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{client::conn::http1, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{DEADLINE, until};

/// What every answer says.
pub(crate) const WORD: &[u8] = b"all is well";
/// Leaves the machine to the others.
const PAUSE: Duration = Duration::from_millis(2);

/// More than any buffer holds.
const LARGE: usize = 64 << 20;

/// A server for both versions of HTTP, on a thread of its own until the test ends. Reads what it is sent, and answers with
/// a word; at `/large` with much.
pub(crate) fn server() -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let large = Bytes::from(vec![b'x'; LARGE]);
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                socket.set_nodelay(true).unwrap();
                // Small: what nobody takes stands in the proxy, and not in the kernel.
                socket2::SockRef::from(&socket).set_send_buffer_size(16 << 10).unwrap();
                let large = large.clone();
                let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let large = large.clone();
                    async move {
                        let word = Bytes::from_static(WORD);
                        let body = if request.uri().path() == "/large" { large } else { word };
                        let mut sent = request.into_body();
                        while let Some(Ok(_)) = sent.frame().await {}
                        Ok::<_, Infallible>(Response::new(Full::new(body)))
                    }
                });
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                tokio::spawn(async move { server.serve_connection(TokioIo::new(socket), answer).await });
            }
        });
    });
    told.recv().unwrap()
}

#[derive(Debug, Default)]
struct Book {
    stop: AtomicBool,
    answered: AtomicU64,
    dialled: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// Traffic until it is stopped.
pub(crate) struct Load {
    book: Arc<Book>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Connections that are kept, connections for one request each, and HTTP/2 with several streams.
    pub(crate) fn start(to: SocketAddr) -> Self {
        let book = Arc::<Book>::default();
        let shared = Arc::clone(&book);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut tasks = tokio::task::JoinSet::new();
                (0..6).for_each(|_| drop(tasks.spawn(keep_at(Arc::clone(&shared), to, Kind::Kept))));
                (0..2).for_each(|_| drop(tasks.spawn(keep_at(Arc::clone(&shared), to, Kind::Single))));
                (0..2).for_each(|_| drop(tasks.spawn(keep_at(Arc::clone(&shared), to, Kind::Http2))));
                while tasks.join_next().await.is_some() {}
            });
        });
        Self { book, thread: Some(thread) }
    }

    pub(crate) fn answered(&self) -> u64 {
        self.book.answered.load(Relaxed)
    }

    pub(crate) fn dialled(&self) -> u64 {
        self.book.dialled.load(Relaxed)
    }

    /// Waits for `more` answers.
    pub(crate) fn flows(&self, more: u64) {
        let from = self.answered();
        until("traffic", || (self.answered() >= from + more).then_some(()));
    }

    /// Lets what is under way end; all failures there were.
    pub(crate) fn stop(mut self) -> Vec<String> {
        self.book.stop.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut self.book.failures.lock().unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.book.stop.store(true, Relaxed);
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Kept,
    Single,
    Http2,
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn keep_at(book: Arc<Book>, to: SocketAddr, kind: Kind) {
    while !book.stop.load(Relaxed) {
        let connection = async {
            let socket = TcpStream::connect(to).await?;
            socket.set_nodelay(true)?;
            book.dialled.fetch_add(1, Relaxed);
            match kind {
                Kind::Kept | Kind::Single => http1(&book, socket, to, matches!(kind, Kind::Single)).await,
                Kind::Http2 => http2(&book, socket, to).await,
            }
        };
        // For all requests of the connection, on a machine that does much else.
        match tokio::time::timeout(3 * DEADLINE, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => book.fail(format!("{kind:?}: {error:?}")),
            Err(_) => book.fail(format!("{kind:?}: no answer in time")),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Book {
    fn fail(&self, failure: String) {
        self.failures.lock().unwrap().push(failure);
    }

    fn check(&self, status: http::StatusCode, body: &[u8]) -> Outcome {
        if status != 200 || body != WORD {
            return Err(format!("{status}: {}", String::from_utf8_lossy(body)).into());
        }
        self.answered.fetch_add(1, Relaxed);
        Ok(())
    }
}

async fn http1(book: &Book, socket: TcpStream, to: SocketAddr, single: bool) -> Outcome {
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    for _ in 0..50 {
        if book.stop.load(Relaxed) {
            break;
        }
        let mut request = Request::get("/").header(header::HOST, to.to_string());
        if single {
            request = request.header(header::CONNECTION, "close");
        }
        let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        let closes = answer.headers().get(header::CONNECTION).is_some_and(|value| value == "close");
        let status = answer.status();
        book.check(status, &answer.into_body().collect().await?.to_bytes())?;
        if closes || single {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn http2(book: &Arc<Book>, socket: TcpStream, to: SocketAddr) -> Outcome {
    let (sender, connection) = h2::client::handshake(socket).await?;
    tokio::spawn(connection);
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (book, sender) = (Arc::clone(book), sender.clone());
        streams.spawn(async move {
            for _ in 0..50 {
                if book.stop.load(Relaxed) {
                    break;
                }
                let request = Request::get(format!("http://{to}/")).body(())?;
                // After a GOAWAY nothing more can be sent here: that is no failure.
                let Ok(mut ready) = sender.clone().ready().await else { break };
                let Ok((answer, _)) = ready.send_request(request, true) else { break };
                let answer = answer.await?;
                let (status, mut body, mut bytes) = (answer.status(), answer.into_body(), Vec::new());
                while let Some(data) = body.data().await {
                    bytes.extend_from_slice(&data?);
                }
                book.check(status, &bytes)?;
                tokio::time::sleep(PAUSE).await;
            }
            Outcome::Ok(())
        });
    }
    drop(sender);
    while let Some(stream) = streams.join_next().await {
        stream??;
    }
    Ok(())
}
