//! Tunnels that carry much: their bytes pass without a copy, and nothing else is different.

use std::{io::Write as _, net::Shutdown, sync::atomic::Ordering::Relaxed, thread};

use socket2::SockRef;

use super::*;

/// So many bytes of a stream, which no other stream has in this order.
fn stream(of: u64, bytes: usize) -> Vec<u8> {
    let mut stream = vec![0; bytes];
    fastrand::Rng::with_seed(of).fill(&mut stream);
    stream
}

const MIB: usize = 1024 * 1024;

/// Sends much one way, with the sender's end behind it, and expects all of it. `step` is what is read at once; where it is
/// little the receiver has little room too, so that the proxy has to wait for it.
fn carries(mut from: TcpStream, mut to: TcpStream, sent: Vec<u8>, step: usize) -> (TcpStream, TcpStream) {
    if step < MIB {
        SockRef::from(&to).set_recv_buffer_size(64 * 1024).unwrap();
    }
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            from.write_all(&sent).unwrap();
            from.shutdown(Shutdown::Write).unwrap();
            from
        });
        for part in sent.chunks(step) {
            assert!(read(&mut to, part.len()) == part);
        }
        assert_eq!(to.read(&mut [0; 1]).unwrap(), 0);
        (sender.join().unwrap(), to)
    })
}

/// F16: as with short ones, an end is an end, and the other direction goes on.
#[test]
fn much_passes_either_way_and_is_counted_to_the_last_byte_whoever_is_slow() {
    let (listener, address) = listener();
    let proxy = proxy(address, &["--workers", "1"]);
    let (mut up, mut down) = (0, 0);
    for step in [16 * MIB, 10_000] {
        let (client, server) = tunnel(&proxy, &listener);
        let (client, server) = carries(client, server, stream(1, 16 * MIB), step);
        let (server, client) = carries(server, client, stream(2, 16 * MIB + 5), step);
        drop((client, server));
        up += 1 + 16 * MIB as u64;
        down += 5 + 16 * MIB as u64;
        let counters = &proxy.shared.counters;
        assert_eq!(counters.tunnelled_up.load(Relaxed), up);
        assert_eq!(counters.tunnelled_down.load(Relaxed), down);
        no_connections_are_left(&proxy);
    }
}

/// One pipe serves all tunnels of a worker: what one was given and nobody took must never come out in another one.
#[test]
fn tunnels_that_carry_much_at_once_keep_their_bytes_apart_also_where_receivers_are_slow_or_reset() {
    let (listener, address) = listener();
    let proxy = proxy(address, &["--workers", "1"]);
    thread::scope(|scope| {
        for of in 0..8 {
            let (client, server) = tunnel(&proxy, &listener);
            let step = if of % 2 == 0 { 4 * MIB } else { 10_000 };
            scope.spawn(move || carries(client, server, stream(of, 4 * MIB), step));
        }
        for of in 8..16 {
            let (mut client, mut server) = tunnel(&proxy, &listener);
            scope.spawn(move || {
                let sent = stream(of, 4 * MIB);
                let sender = thread::spawn(move || {
                    // It is reset in its midst, as its receiver is.
                    let _ = client.write_all(&sent);
                    client
                });
                read(&mut server, MIB);
                resets(&server);
                drop(server);
                let mut client = sender.join().unwrap();
                let end = client.write_all(&[0; 64]).and_then(|()| client.read(&mut [0; 1]).map(|_| ()));
                assert!(end.is_err(), "a stream that was cut looks whole");
            });
        }
    });
    no_connections_are_left(&proxy);
}

#[test]
fn a_tunnel_that_carried_much_is_reset_when_nothing_moves_for_the_idle_time_out() {
    let (listener, address) = listener();
    let proxy = proxy(address, &["--idle-timeout", "2s"]);
    let sent = stream(3, 8 * MIB);
    let (mut client, mut server) = tunnel(&proxy, &listener);
    thread::scope(|scope| {
        scope.spawn(|| client.write_all(&sent).unwrap());
        assert!(read(&mut server, sent.len()) == sent);
    });
    assert!(is_reset(&mut client));
    assert!(is_reset(&mut server));
    counted(&proxy, Event::IdleTimeout, 1);
}
