//! One head in the forms of both versions: what is accepted in two of them is read as the same. For the fuzz target, and
//! for its corpus as an ordinary test.
//!
//! An input is text: `METHOD PATH`, the authority, then `name: value` for each field, a line each. Within, the bytes
//! 0x1e and 0x1f stand for LF and CR. The HTTP/2 form goes through `h2`, as a client's frames do.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use bellhop_route::{Carriers, Keys};
use bytes::BytesMut;
use http::request::Parts;
use tokio::io::AsyncWriteExt as _;

use super::fields::{self, OF_THE_CONNECTION};
use crate::{
    config::Limits,
    context::Head,
    forward::DecidedField,
    http1,
    http2::{View, to_http1},
};

/// Larger inputs need more than one frame, and say nothing new.
const MAX_INPUT: usize = 4 * 1024;

/// What a head says, whatever form it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    method: Vec<u8>,
    authority: Vec<u8>,
    path: Vec<u8>,
    keys: Keys,
    /// Those that pass, in order of their names; cookies may be cut and joined.
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Reading {
    /// As the steps behind an engine see it.
    pub(crate) fn of(head: &impl Head) -> Self {
        let hop: Vec<_> =
            head.values("connection").flat_map(fields::members).map(<[u8]>::to_ascii_lowercase).collect();
        let stays = |name: &Vec<u8>| {
            name != b"host"
                && name != b"cookie"
                && !hop.contains(name)
                && !OF_THE_CONNECTION.iter().any(|known| known.as_bytes() == name)
        };
        let lower = |(name, value): (&[u8], &[u8])| (name.to_ascii_lowercase(), value.trim_ascii().to_vec());
        let mut fields: Vec<_> = head.headers().map(lower).filter(|(name, _)| stays(name)).collect();
        fields.sort_by(|one, other| one.0.cmp(&other.0));
        // An absolute target may leave a path out, and then means this one.
        let path = match (head.path_and_query(), head.method()) {
            (path, b"CONNECT") => path.to_vec(),
            (b"", b"OPTIONS") => b"*".to_vec(),
            (path, _) if path.is_empty() || path.starts_with(b"?") => [b"/", path].concat(),
            (path, _) => path.to_vec(),
        };
        Self {
            method: head.method().to_vec(),
            authority: head.authority().unwrap_or_default().to_vec(),
            path,
            keys: Carriers::default().read(head),
            fields,
        }
    }
}

/// Reads one head in all its forms.
///
/// # Panics
/// Where two forms are read differently, or what is written for the other version is not read as it was meant.
pub(crate) fn run(bytes: &[u8]) {
    let Some(input) = Input::read(bytes) else { return };
    let mut readings = Vec::new();
    for head in [input.http1(false), input.http1(true)] {
        let Some((reading, carried)) = http1::oracle::read_head(&head) else { continue };
        if let Some(parts) = carried {
            let checked = super::http2::check(&parts, &Limits::default());
            // `Host` may be empty in HTTP/1 alone.
            assert!(checked.is_ok() || reading.authority.is_empty(), "{checked:?} from {reading:?}");
            assert_eq!(Reading::of(&View(&parts)), reading, "carried to HTTP/2");
        }
        readings.push(reading);
    }
    for block in [input.http2(false), input.http2(true)] {
        let Some(parts) = through_h2(&block) else { continue };
        if super::http2::check(&parts, &Limits::default()).is_err() {
            continue;
        }
        let reading = Reading::of(&View(&parts));
        let mut out = BytesMut::new();
        if to_http1::request::write(&parts, &DecidedField::Keep, false, None, &mut out).is_ok() {
            let carried = http1::oracle::read_head(&out).map(|(carried, _)| carried);
            assert_eq!(carried.as_ref(), Some(&reading), "carried to HTTP/1");
        }
        readings.push(reading);
    }
    for two in readings.windows(2) {
        assert_eq!(two.first(), two.last(), "of {:?}", String::from_utf8_lossy(bytes));
    }
}

/// A head without a form.
struct Input {
    method: Vec<u8>,
    path: Vec<u8>,
    authority: Vec<u8>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Input {
    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_INPUT {
            return None;
        }
        let mut lines = bytes.split(|byte| *byte == b'\n').map(|line| {
            let plain = |byte: &u8| match byte {
                0x1e => b'\n',
                0x1f => b'\r',
                other => *other,
            };
            line.iter().map(plain).collect::<Vec<u8>>()
        });
        let (method, path) = split(&lines.next()?, b' ')?;
        let authority = lines.next()?;
        let fields = lines.filter_map(|line| split(&line, b':')).collect();
        Some(Self { method, path, authority, fields })
    }

    fn is_connect(&self) -> bool {
        self.method == b"CONNECT"
    }

    fn http1(&self, absolute: bool) -> Vec<u8> {
        let target = match (self.is_connect(), absolute) {
            (true, _) => self.authority.clone(),
            (false, true) if self.path == b"*" => [b"http://", &self.authority[..]].concat(),
            // Anything else in front of a path would be part of the authority.
            (false, true) if self.path.starts_with(b"/") => {
                [b"http://", &self.authority[..], &self.path].concat()
            }
            (false, _) => self.path.clone(),
        };
        let mut head = [&self.method[..], b" ", &target, b" HTTP/1.1\r\nHost: ", &self.authority].concat();
        for (name, value) in &self.fields {
            head.extend_from_slice(&[b"\r\n", &name[..], b":", value].concat());
        }
        head.extend_from_slice(b"\r\n\r\n");
        head
    }

    /// The fields of a HEADERS frame, none of them compressed (RFC 7541 §6.2.2).
    fn http2(&self, with_host: bool) -> Vec<u8> {
        let mut block = Vec::new();
        literal(&mut block, b":method", &self.method);
        if !self.is_connect() {
            literal(&mut block, b":scheme", b"http");
            literal(&mut block, b":path", &self.path);
        }
        literal(&mut block, if with_host { b"host" } else { b":authority" }, &self.authority);
        for (name, value) in &self.fields {
            literal(&mut block, &name.to_ascii_lowercase(), value);
        }
        block
    }
}

fn split(line: &[u8], at: u8) -> Option<(Vec<u8>, Vec<u8>)> {
    // A field that begins with a colon is a pseudo-header field.
    let end = line.iter().skip(1).position(|byte| *byte == at)? + 1;
    let (front, behind) = line.split_at_checked(end)?;
    Some((front.to_vec(), behind.get(1..)?.to_vec()))
}

fn literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        let mut length = text.len();
        if length < 127 {
            block.push(u8::try_from(length).unwrap_or_default());
        } else {
            block.push(127);
            length -= 127;
            while length >= 128 {
                block.push(u8::try_from(length % 128).unwrap_or_default() | 128);
                length /= 128;
            }
            block.push(u8::try_from(length).unwrap_or_default());
        }
        block.extend_from_slice(text);
    }
}

/// What `h2` hands over of a HEADERS frame that is not its stream's end; none where it refuses.
fn through_h2(block: &[u8]) -> Option<Parts> {
    let length = u32::try_from(block.len()).ok().filter(|length| *length <= 16 * 1024)?.to_be_bytes();
    let mut frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    frames.extend_from_slice(length.get(1..)?);
    frames.extend_from_slice(b"\x01\x04\0\0\0\x01");
    frames.extend_from_slice(block);
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let accepting = async {
        client.write_all(&frames).await.ok()?;
        let mut connection = h2::server::handshake(server).await.ok()?;
        let (request, _) = connection.accept().await?.ok()?;
        Some(request.into_parts().0)
    };
    // Everything is there already: what has not come about after some polls is not to come.
    let (mut accepting, mut cx) = (pin!(accepting), Context::from_waker(Waker::noop()));
    (0..16).find_map(|_| match accepting.as_mut().poll(&mut cx) {
        Poll::Ready(accepted) => Some(accepted),
        Poll::Pending => None,
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b3_b5_a_head_that_both_versions_accept_has_one_reading() {
        crate::corpus::mutated("validation", 100, run);
    }

    #[test]
    fn the_oracle_sees_every_form_of_a_head() {
        let input = Input::read(b"POST /a?b\nroute:80\nBaggage: routing-key=k\nX: 1").unwrap();
        let parts = [false, true].map(|with_host| through_h2(&input.http2(with_host)).unwrap());
        let mut readings: Vec<_> = parts.iter().map(|parts| Reading::of(&View(parts))).collect();
        for absolute in [false, true] {
            let (reading, carried) = http1::oracle::read_head(&input.http1(absolute)).unwrap();
            readings.extend([reading, Reading::of(&View(&carried.unwrap()))]);
        }
        assert_eq!((readings.len(), &readings[0].path[..]), (6, &b"/a?b"[..]));
        assert_eq!(readings[0].keys.iter().map(|key| key.to_string()).collect::<Vec<_>>(), ["k"]);
        assert_eq!(readings[0].fields.len(), 2);
        assert!(readings.iter().all(|reading| *reading == readings[0]));
        assert!(through_h2(&Input::read(b"GET /\na\nConnection: close").unwrap().http2(false)).is_none());
    }
}
