//! The program is killed while it writes.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
};

use crate::harness::{Control, PATIENCE, list};

const ROUNDS: usize = 100;
const WRITERS: usize = 8;
/// Of each writer in a round: 1,000 together.
const WRITES: usize = 125;

/// What a writer knows of its own objects: the last value that was acknowledged, and the one that it was writing when the
/// connection broke.
#[derive(Debug, Default, Clone)]
struct Known {
    acknowledged: BTreeMap<String, String>,
    in_flight: Option<(String, String)>,
}

/// Writes each of a writer's objects once; ends where the connection breaks. Tells after each how many it has written.
fn write(address: SocketAddr, writer: usize, round: usize, mut known: Known, told: impl Fn()) -> Known {
    known.in_flight = None;
    let Ok(stream) = TcpStream::connect(address) else { return known };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    for n in 0..WRITES {
        // an endpoint and a label tell the same number, so that half an object would be seen
        let (name, value) = (format!("s-{writer}-{n}"), (round * WRITES + n).to_string());
        known.in_flight = Some((name.clone(), value.clone()));
        let sent = send(&stream, &name, &value);
        match sent.and_then(|()| answer(&mut answers)) {
            Ok(200 | 201) => known.acknowledged.insert(name, value),
            Ok(status) => panic!("{name} is answered {status}"),
            Err(_) => return known,
        };
        told();
    }
    known.in_flight = None;
    known
}

fn send(mut stream: &TcpStream, name: &str, value: &str) -> std::io::Result<()> {
    let body = format!(
        r#"{{"apiVersion":"bellhop.dev/v1alpha1","kind":"Sandbox","metadata":{{"name":"{name}","labels":{{"n":"{value}"}}}},
            "spec":{{"overrides":[{{"service":"s-{value}","port":80,"endpoints":["10.0.0.7"]}}]}}}}"#
    );
    let length = body.len();
    let head = format!(
        "PUT /v1/namespaces/default/sandboxes/{name} HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + &body).as_bytes())
}

/// The status of one whole answer.
fn answer(from: &mut impl BufRead) -> std::io::Result<u16> {
    let (mut status, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(text) = line.strip_prefix("HTTP/1.1 ") {
            status = text.get(..3).and_then(|status| status.parse().ok());
        } else if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        } else if line == "\r\n" {
            break;
        }
    }
    std::io::copy(&mut from.by_ref().take(length), &mut std::io::sink())?;
    Ok(status.unwrap())
}

/// F20: killed 100 times in the middle of 1,000 writes, each time at another point of them.
#[test]
fn f20_every_write_that_was_acknowledged_survives_kill_9_and_the_others_are_whole_or_not_there() {
    let data = tempfile::tempdir().unwrap();
    let mut known = vec![Known::default(); WRITERS];
    let mut cut = 0;
    for round in 0..ROUNDS {
        let mut control = Control::start(data.path());
        check(&control, &mut known);
        let address = control.address;
        let (tell, told) = std::sync::mpsc::channel();
        let writers: Vec<_> = known
            .iter()
            .enumerate()
            .map(|(writer, known)| {
                let (tell, known) = (tell.clone(), known.clone());
                // whoever listens may have heard enough
                thread::spawn(move || {
                    write(address, writer, round, known, || tell.send(()).unwrap_or_default())
                })
            })
            .collect();
        drop(tell);
        // the first writes, the last ones, and in between, in no order
        let until = 1 + (round * 37 % ROUNDS) * (WRITERS * WRITES - WRITERS) / ROUNDS;
        for _ in 0..until {
            told.recv_timeout(PATIENCE).expect("writes go on");
        }
        control.child.kill().unwrap();
        control.child.wait().unwrap();
        known = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        cut += known.iter().filter(|known| known.in_flight.is_some()).count();
    }
    check(&Control::start(data.path()), &mut known);
    assert!(cut > ROUNDS, "the kills hit writes: {cut}");
}

/// Each object is as its writer last heard, or as the write that was in flight would have made it; and whole. What is
/// found is what must stay from now on.
fn check(control: &Control, known: &mut [Known]) {
    let held: BTreeMap<_, _> = list(control.address)
        .into_iter()
        .map(|item| {
            let value = item["metadata"]["labels"]["n"].as_str().unwrap().to_owned();
            let name = item["metadata"]["name"].as_str().unwrap().to_owned();
            assert_eq!(item["spec"]["overrides"][0]["service"], format!("s-{value}"), "half of {name}");
            (name, value)
        })
        .collect();
    for Known { acknowledged, in_flight } in &*known {
        for (name, value) in acknowledged {
            let found = held.get(name);
            let flying = in_flight.as_ref().filter(|(flying, _)| flying == name).map(|(_, value)| value);
            assert!(
                found == Some(value) || found.is_some() && found == flying,
                "{name}: acknowledged {value}, in flight {flying:?}, found {found:?}"
            );
        }
    }
    let at_most: usize =
        known.iter().map(|known| known.acknowledged.len() + usize::from(known.in_flight.is_some())).sum();
    assert!(held.len() <= at_most, "objects that nobody wrote");
    for Known { acknowledged, in_flight } in known {
        if let Some((name, _)) = in_flight.take()
            && let Some(found) = held.get(&name)
        {
            acknowledged.insert(name, found.clone());
        }
    }
}
