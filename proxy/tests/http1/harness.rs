//! A real proxy on loopback between plain sockets: clients and upstreams that send exactly the bytes a test says.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bellhop_api::watch::{Event, Position, Unit};
use bellhop_proxy::{Config, app};
use socket2::SockRef;

/// Longer than anything that should happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// A proxy with one fixed upstream that stands for `app.default:80`, and an explicit listener.
pub(crate) struct Proxy {
    pub(crate) running: app::Running,
    pub(crate) fixed: SocketAddr,
    pub(crate) explicit: SocketAddr,
}

impl Proxy {
    pub(crate) fn start(upstream: SocketAddr, more: &[&str]) -> Self {
        let upstream = upstream.to_string();
        let mut args = vec!["--listen", "127.0.0.1:0", "--upstream", &upstream, "--destination", "app:80"];
        args.extend([
            "--explicit",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--workers",
            "1",
            "--access-log",
            "off",
        ]);
        args.extend(["--allow-loopback-endpoints=true"]);
        args.extend(more);
        let running = app::start(Config::from_args(args).unwrap()).unwrap();
        let (fixed, explicit) = (running.addresses()[0], running.addresses()[1]);
        Self { running, fixed, explicit }
    }

    /// One with these routes in force.
    pub(crate) fn with_routes(upstream: SocketAddr, units: Vec<Unit>, more: &[&str]) -> Self {
        let control = format!("http://{}", control(units));
        let mut args = vec!["--control", &control];
        args.extend(more);
        let proxy = Self::start(upstream, &args);
        proxy.until_routes_are_loaded();
        proxy
    }

    /// `no-table` until then: asked with a key that nobody knows.
    fn until_routes_are_loaded(&self) {
        let end = Instant::now() + DEADLINE;
        loop {
            let mut client = Conn::connect(self.fixed);
            client.send(
                "GET /ready HTTP/1.1\r\nHost: a\r\nBaggage: routing-key=nobody\r\nConnection: close\r\n\r\n",
            );
            let answer = client.head();
            if !answer.contains("no-table") {
                return;
            }
            assert!(Instant::now() < end, "no routes: {answer}");
            thread::yield_now();
        }
    }

    pub(crate) fn client(&self) -> Conn {
        Conn::connect(self.fixed)
    }
}

/// A control plane that says one list and then keeps still.
pub(crate) fn control(units: Vec<Unit>) -> SocketAddr {
    let position = Position { token: "t".into(), epoch: "e".into(), revision: 1 };
    let events = [Event::Reset(position.clone())]
        .into_iter()
        .chain(units.into_iter().map(|unit| Event::Put { unit, position: None }))
        .chain([Event::Synced(position)]);
    let lines: String = events.map(|event| serde_json::to_string(&event).unwrap() + "\n").collect();
    serve(move |mut conn, _| {
        let head = conn.head();
        if head.starts_with("GET /v1/routes") {
            conn.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n");
            conn.send(&lines);
            conn.rest();
        } else {
            conn.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        }
    })
    .address
}

/// An upstream that treats each connection as the test says; connections are numbered from 0.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Upstream {
    /// Waits for one more connection than `before`.
    pub(crate) fn until_one_more_than(&self, before: usize) {
        let end = Instant::now() + DEADLINE;
        while self.accepted() <= before {
            assert!(Instant::now() < end, "nobody connects");
            thread::yield_now();
        }
    }

    /// Connections that came so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

pub(crate) fn serve(treat: impl Fn(Conn, usize) + Send + Sync + 'static) -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    thread::spawn(move || {
        let treat = Arc::new(treat);
        for socket in listener.incoming().map_while(Result::ok) {
            let (treat, number) = (Arc::clone(&treat), count.fetch_add(1, Ordering::SeqCst));
            thread::spawn(move || treat(Conn::new(socket), number));
        }
    });
    Upstream { address, accepted }
}

/// An upstream that answers every request with `name`, its target and its body.
pub(crate) fn echo(name: &'static str) -> Upstream {
    serve(move |mut conn, _| {
        while let Some(request) = conn.message() {
            let target = request.head.split(' ').nth(1).unwrap_or_default();
            let body = format!("{name} {target} {}", String::from_utf8_lossy(&request.body));
            conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    })
}

/// A port that refuses.
pub(crate) fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A message as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(n, v)| n.eq_ignore_ascii_case(name).then_some(v))
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Reset,
}

/// One end of a connection.
pub(crate) struct Conn {
    pub(crate) socket: TcpStream,
    held: Vec<u8>,
}

impl Conn {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        Self::new(TcpStream::connect(to).unwrap())
    }

    pub(crate) fn new(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, held: Vec::new() }
    }

    /// Sends; a peer that is gone is found out when reading.
    pub(crate) fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes());
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// Reads up to and with the empty line; what came so far where the connection ends before.
    pub(crate) fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.held.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.held.split_off(at + 4);
                let head = std::mem::replace(&mut self.held, rest);
                return String::from_utf8_lossy(&head).into_owned();
            }
            if !self.more() {
                return String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned();
            }
        }
    }

    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.held.len() < count && self.more() {}
        let rest = self.held.split_off(count.min(self.held.len()));
        std::mem::replace(&mut self.held, rest)
    }

    /// Reads one message with a length or chunks; none where the connection has ended.
    pub(crate) fn message(&mut self) -> Option<Message> {
        self.answer_to("GET")
    }

    pub(crate) fn answer_to(&mut self, method: &str) -> Option<Message> {
        let head = self.head();
        if !head.ends_with("\r\n\r\n") {
            return None;
        }
        let mut message = Message { head, body: Vec::new() };
        if method == "HEAD" {
            return Some(message);
        }
        if message.field("transfer-encoding").is_some() {
            message.body = self.chunks();
        } else {
            let length = message.field("content-length").map_or(0, |length| length.parse().unwrap());
            message.body = self.exactly(length);
        }
        Some(message)
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            let size = usize::from_str_radix(line.split(';').next().unwrap().trim(), 16).unwrap();
            body.extend(self.exactly(size));
            if size == 0 {
                while !self.line().is_empty() {}
                return body;
            }
            self.line();
        }
    }

    fn line(&mut self) -> String {
        while !self.held.windows(2).any(|two| two == b"\r\n") && self.more() {}
        let at = self.held.windows(2).position(|two| two == b"\r\n").unwrap();
        let line = self.exactly(at + 2);
        String::from_utf8_lossy(&line[..at]).into_owned()
    }

    /// Reads to the end.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, End) {
        let mut all = std::mem::take(&mut self.held);
        loop {
            let mut some = [0; 4096];
            match self.socket.read(&mut some) {
                Ok(0) => return (all, End::Closed),
                Ok(count) => all.extend_from_slice(&some[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    panic!("still open after {DEADLINE:?}; so far {:?}", String::from_utf8_lossy(&all))
                }
                Err(_) => return (all, End::Reset),
            }
        }
    }

    pub(crate) fn end(&self) {
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    pub(crate) fn reset(self) {
        SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).unwrap();
    }

    fn more(&mut self) -> bool {
        let mut some = [0; 4096];
        match self.socket.read(&mut some) {
            Ok(0) => false,
            Ok(count) => {
                self.held.extend_from_slice(&some[..count]);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                panic!("nothing for {DEADLINE:?}; so far {:?}", String::from_utf8_lossy(&self.held))
            }
            Err(_) => false,
        }
    }
}

/// Routes of one key for `app.default:80`.
pub(crate) fn route(key: &str, endpoints: &[SocketAddr], fallback: bool) -> Unit {
    let fallback = if fallback { "baseline" } else { "none" };
    let unit = serde_json::json!({
        "key": {
            "key": key,
            "digest": "0000000000000000",
            "routes": [{ "destination": "app.default:80", "endpoints": endpoints, "fallback": fallback }],
        }
    });
    serde_json::from_value(unit).unwrap()
}

/// A request with a key.
pub(crate) fn keyed(key: &str) -> String {
    format!("GET /k HTTP/1.1\r\nHost: app\r\nBaggage: routing-key={key}\r\n\r\n")
}
