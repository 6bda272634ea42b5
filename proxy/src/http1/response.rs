//! An answer's head: parsed in place, then checked until only one reading of it is left.

use httparse::ParserConfig;

use super::head::{HeadFault, with_fields};
use crate::validate::{
    Fault, Method,
    fields::members,
    framing::{Framing, Lengths},
};

/// A checked head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Response {
    /// Its status.
    pub(super) status: u16,
    /// Whether the connection ends behind it.
    pub(super) close: bool,
    /// Whether it says that the connection stays.
    pub(super) keep_alive: bool,
    /// Whether `Connection` names fields that must be left out on the way.
    pub(super) has_hop_fields: bool,
    is_1_0: bool,
    lengths: Lengths,
}

impl Response {
    /// Reads the head that `bytes` are, the empty line included.
    ///
    /// # Errors
    /// It is no head, or has more than one reading.
    #[inline]
    pub(super) fn parse(bytes: &[u8], max_headers: usize) -> Result<Self, Fault> {
        // The parser skips empty lines; whoever comes next may take one for the head's end.
        if !bytes.starts_with(b"HTTP/") {
            return Err(Fault("an answer that does not begin with its version"));
        }
        let parsed = with_fields(bytes, max_headers, |fields| {
            let mut answer = httparse::Response::new(&mut []);
            let status =
                ParserConfig::default().parse_response_with_uninit_headers(&mut answer, bytes, fields)?;
            let is_1_0 = answer.version == Some(0);
            let mut response = Self {
                status: answer.code.unwrap_or_default(),
                close: false,
                keep_alive: false,
                has_hop_fields: false,
                is_1_0,
                lengths: Lengths::default(),
            };
            for field in answer.headers.iter() {
                response.field(field.name, field.value)?;
            }
            response.close |= is_1_0 && !response.keep_alive;
            Ok((status, response))
        });
        match parsed {
            Ok(response) if response.status >= 100 => Ok(response),
            Ok(_) => Err(Fault("a status below 100")),
            Err(HeadFault::Broken(fault)) => Err(fault),
            Err(HeadFault::TooMany) => Err(Fault("too many fields")),
            Err(HeadFault::Version) => Err(Fault("an unknown version")),
        }
    }

    #[inline]
    fn field(&mut self, name: &str, value: &[u8]) -> Result<(), Fault> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            10 if is("connection") => self.connection(value),
            14 if is("content-length") => self.lengths.content_length(value),
            17 if is("transfer-encoding") => self.lengths.transfer_encoding(value),
            _ => Ok(()),
        }
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), Fault> {
        for option in members(value) {
            let is = |known: &str| option.eq_ignore_ascii_case(known.as_bytes());
            match option.len() {
                5 if is("close") => self.close = true,
                7 if is("upgrade") => {}
                10 if is("keep-alive") => self.keep_alive = true,
                14 if is("content-length") => return Err(Fault("Connection names Content-Length")),
                17 if is("transfer-encoding") => return Err(Fault("Connection names Transfer-Encoding")),
                _ => self.has_hop_fields = true,
            }
        }
        Ok(())
    }

    /// Whether another answer to the same request follows.
    #[inline]
    pub(super) fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// What the body of a final answer is (RFC 9112 §6.3).
    ///
    /// # Errors
    /// Two framings, or chunks towards a client that knows none.
    #[inline]
    pub(super) fn framing(&self, asked: Method, client_is_1_0: bool) -> Result<Framing, Fault> {
        let said = self.lengths.framing(self.is_1_0)?;
        if asked == Method::Head || matches!(self.status, 204 | 304) {
            return Ok(Framing::Length(0));
        }
        match said {
            Some(Framing::Chunked) if client_is_1_0 => Err(Fault("chunks towards HTTP/1.0")),
            said => Ok(said.unwrap_or(Framing::UntilClose)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(head: &str, asked: Method) -> Result<Framing, Fault> {
        Response::parse(head.as_bytes(), 100)?.framing(asked, false)
    }

    #[test]
    fn an_answers_body_is_framed_by_rfc_9112() {
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(framing(length, Method::Other), Ok(Framing::Length(5)));
        assert_eq!(framing(length, Method::Head), Ok(Framing::Length(0)));
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(framing(chunks, Method::Other), Ok(Framing::Chunked));
        assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n", Method::Other), Ok(Framing::UntilClose));
        for status in ["204 No Content", "304 Not Modified"] {
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n");
            assert_eq!(framing(&head, Method::Other), Ok(Framing::Length(0)));
        }
    }

    #[test]
    fn an_answer_with_two_readings_is_a_fault() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nConnection: Content-Length\r\n\r\n",
            "HTTP/1.1 099 Low\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 20x OK\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ] {
            assert!(framing(head, Method::Other).is_err(), "{head:?}");
        }
    }

    #[test]
    fn connections_end_behind_close_and_behind_1_0_without_keep_alive() {
        for (head, close) in [
            ("HTTP/1.1 200 OK\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", true),
            ("HTTP/1.0 200 OK\r\n\r\n", true),
            ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", false),
        ] {
            assert_eq!(Response::parse(head.as_bytes(), 100).map(|r| r.close), Ok(close), "{head:?}");
        }
    }
}
