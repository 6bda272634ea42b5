//! Serving the proxy's own listeners.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Bound, Doors, guard, pages};
use crate::{handover, shared::SharedRef, status};

/// Who asks for a status is one of few.
const MAX_CONNECTIONS: usize = 64;
/// A head is small and comes at once; so is an idle connection closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// No connection stays for longer, so that those who hold one and never read cannot keep others out.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// What an answer under way may still take then.
const GRACE: Duration = Duration::from_secs(10);

/// What a listener has to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offer {
    Everything,
    Status,
}

/// What a listener asks of those who call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// [`guard::check`] it whole.
    Loopback,
    /// No web pages; a Unix socket has no name to be called by.
    NoOrigin,
    /// Anybody.
    None,
}

/// One listener's share in each of its requests.
#[derive(Clone)]
struct Room {
    shared: SharedRef,
    offer: Offer,
    guard: Guard,
}

/// Serves both listeners, and never returns unless there is none.
pub(crate) async fn serve(doors: Doors, shared: &SharedRef) {
    let admin = serve_one(doors.admin, Offer::Everything, shared);
    let status = serve_one(doors.status, Offer::Status, shared);
    tokio::join!(admin, status);
}

async fn serve_one(bound: Option<Bound>, offer: Offer, shared: &SharedRef) {
    let guard = match &bound {
        Some(Bound::Unix(..)) => Guard::NoOrigin,
        Some(Bound::Tcp(listener)) => match listener.local_addr() {
            Ok(address) if !address.ip().to_canonical().is_loopback() => Guard::None,
            _ => Guard::Loopback,
        },
        None => return,
    };
    let room = Room { shared: Arc::clone(shared), offer, guard };
    let served = match bound {
        Some(Bound::Tcp(listener)) => match TcpListener::from_std(listener) {
            Ok(listener) => {
                accept(room, async move || listener.accept().await.map(|(socket, _)| (socket, None))).await
            }
            Err(error) => Err(error),
        },
        Some(Bound::Unix(listener, _file)) => match UnixListener::from_std(listener) {
            Ok(listener) => accept(room, async move || from_user(listener.accept().await?.0)).await,
            Err(error) => Err(error),
        },
        None => Ok(()),
    };
    if let Err(error) = served {
        tracing::error!(%error, "one of the proxy's own listeners cannot be served");
    }
}

/// A connection, and the user on its other side where that is known.
fn from_user(socket: UnixStream) -> io::Result<(UnixStream, Option<u32>)> {
    let user = socket.peer_cred()?.uid();
    Ok((socket, Some(user)))
}

/// Returns once a successor listens, and the last connection has ended.
async fn accept<S>(room: Room, next: impl AsyncFn() -> io::Result<(S, Option<u32>)>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let shared = Arc::clone(&room.shared);
    let mut over = std::pin::pin!(shared.succession.over());
    loop {
        let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        let next = tokio::select! {
            next = next() => next,
            () = &mut over => break,
        };
        match next {
            Ok((socket, user)) => {
                let room = room.clone();
                connections.spawn(async move {
                    let _place = place;
                    connection(room, user, socket).await;
                });
            }
            // Out of descriptors, mostly: it passes.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
        while connections.try_join_next().is_some() {}
    }
    drop(next);
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn connection<S>(room: Room, user: Option<u32>, socket: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|mut request| {
        let answer = answer(&room, user, &mut request);
        async { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    if timeout(CONNECTION_TIMEOUT, served.as_mut()).await.is_err() {
        served.as_mut().graceful_shutdown();
        let _ = timeout(GRACE, served).await;
    }
}

fn answer(room: &Room, user: Option<u32>, request: &mut Request<Incoming>) -> Response<Full<Bytes>> {
    let checked = match room.guard {
        Guard::Loopback => guard::check(request.uri(), request.headers()),
        Guard::NoOrigin if request.headers().contains_key(header::ORIGIN) => Err(guard::Turned::Origin),
        Guard::NoOrigin | Guard::None => Ok(()),
    };
    if let Err(turned) = checked {
        let refused = &room.shared.telemetry.housekeeping.admin_refused;
        refused.with_label_values(&[turned.as_str()]).inc();
        return text(StatusCode::FORBIDDEN, turned.message());
    }
    if room.offer == Offer::Everything
        && let Some(answer) = handover::give(&room.shared, user, request)
    {
        return answer;
    }
    let page = status::page(&room.shared, request.uri().path());
    let page = page.or_else(|| match room.offer {
        Offer::Everything => pages::page(&room.shared, request.uri()),
        Offer::Status => None,
    });
    let Some(page) = page else {
        return text(StatusCode::NOT_FOUND, "not here\n");
    };
    let allowed =
        request.method() == page.method || (page.method == Method::GET && request.method() == Method::HEAD);
    if !allowed {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "another method is needed; see Allow\n");
        let allow = if page.method == Method::GET { "GET, HEAD" } else { "POST" };
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        return answer;
    }
    (page.make)()
}

/// A page that exists: what it takes to get it, and how it is made.
pub(crate) struct Page<'a> {
    /// The one method that it takes; HEAD comes with GET.
    pub(crate) method: Method,
    /// Makes it.
    pub(crate) make: Box<dyn FnOnce() -> Response<Full<Bytes>> + 'a>,
}

impl<'a> Page<'a> {
    /// A page that is read.
    pub(crate) fn get(make: impl FnOnce() -> Response<Full<Bytes>> + 'a) -> Option<Self> {
        Some(Self { method: Method::GET, make: Box::new(make) })
    }

    /// A page that does something.
    pub(crate) fn post(make: impl FnOnce() -> Response<Full<Bytes>> + 'a) -> Option<Self> {
        Some(Self { method: Method::POST, make: Box::new(make) })
    }
}

/// An answer in plain text.
pub(crate) fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", text.into())
}

/// An answer of a media type. It is never kept, and never taken for something else.
pub(crate) fn typed(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
