//! A request's head: parsed in place, then checked until only one reading of it is left (RFC 9112).

use bellhop_route::{Carriers, DECIDED_FIELD, HeadView};
use httparse::ParserConfig;

use super::{
    Fault,
    framing::{Framing, Lengths},
    head::{HeadFault, Line, Span, members, with_fields},
    target::{self, Form},
};
use crate::{config::Limits, context::Head, error::ErrorKind};

/// What a method changes about framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Its answer has no body.
    Head,
    /// A 2xx makes a tunnel.
    Connect,
    /// Nothing.
    Other,
}

/// A checked head. Its spans point into the bytes that it was read from.
#[derive(Debug)]
pub(crate) struct Request {
    /// Its fields, in order.
    pub(super) lines: Vec<Line>,
    /// Its bytes, the empty line included.
    pub(super) length: usize,
    /// What its method changes.
    pub(super) method: Method,
    /// What its body is.
    pub(super) framing: Framing,
    /// Whether it is HTTP/1.0.
    pub(super) is_1_0: bool,
    /// Whether the client's connection ends after the answer. In HTTP/1.0 it does, unless asked otherwise.
    pub(super) close: bool,
    /// Whether it asks to switch protocols.
    pub(super) upgrade: bool,
    /// Whether fields must be left out on the way (RFC 9110 §7.6.1): `Connection` names some, or HTTP/2 is offered.
    pub(super) has_hop_fields: bool,
    /// Whether `Host` differs from the target's authority, which then counts.
    pub(super) host_differs: bool,
    /// The method's text.
    pub(super) method_text: Span,
    /// What the target is.
    pub(super) form: Form,
    /// Whether plain HTTP can be spoken to the target; an absolute one may have another scheme.
    pub(super) plain: bool,
    /// The authority: the target's, else `Host`'s.
    pub(super) authority: Option<Span>,
    /// Path and query.
    pub(super) path: Span,
}

/// The line that a request begins with.
struct StartLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    is_1_0: bool,
}

/// What the fields say, gathered one by one.
#[derive(Default)]
struct Gathered {
    lengths: Lengths,
    host: Option<Span>,
    close: bool,
    keep_alive: bool,
    upgrade_option: bool,
    upgrade_field: bool,
    has_hop_fields: bool,
}

impl Request {
    /// Reads the head that `bytes` are, the empty line included. `lines` lends its memory.
    ///
    /// # Errors
    /// It is no head, has more than one reading, or is larger than allowed.
    #[inline]
    pub(super) fn parse(
        bytes: &[u8],
        limits: &Limits,
        carriers: &Carriers,
        mut lines: Vec<Line>,
    ) -> Result<Self, ErrorKind> {
        lines.clear();
        let parsed = with_fields(bytes, limits.max_headers, |fields| {
            let mut request = httparse::Request::new(&mut []);
            let status =
                ParserConfig::default().parse_request_with_uninit_headers(&mut request, bytes, fields)?;
            let mut gathered = Gathered::default();
            for field in request.headers.iter() {
                let line = Line {
                    name: Span::of(field.name.as_bytes(), bytes),
                    value: Span::of(field.value, bytes),
                };
                gathered.field(field.name, field.value, line, carriers)?;
                lines.push(line);
            }
            let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
            let (method, target) = (method.as_bytes(), target.as_bytes());
            Ok((status, (StartLine { method, target, is_1_0: request.version == Some(0) }, gathered)))
        });
        let (start, gathered) = parsed.map_err(kind)?;
        if start.target.len() > limits.max_uri_bytes {
            return Err(ErrorKind::TargetTooLong);
        }
        let fields_start = lines.first().map_or(bytes.len(), |line| line.name.start());
        if bytes.len() - fields_start > limits.max_header_bytes {
            return Err(ErrorKind::HeadTooLarge);
        }
        gathered.request(bytes, start, lines).map_err(|fault| ErrorKind::BadRequest(fault.0))
    }

    /// The head's view for the steps that both engines share.
    #[inline]
    pub(super) fn view<'a>(&'a self, bytes: &'a [u8]) -> View<'a> {
        View { request: self, bytes }
    }
}

fn kind(fault: HeadFault) -> ErrorKind {
    match fault {
        HeadFault::TooMany => ErrorKind::HeadTooLarge,
        HeadFault::Version => ErrorKind::BadVersion,
        HeadFault::Broken(fault) => ErrorKind::BadRequest(fault.0),
    }
}

impl Gathered {
    #[inline]
    fn field(&mut self, name: &str, value: &[u8], line: Line, carriers: &Carriers) -> Result<(), Fault> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is("host") => {
                if self.host.replace(line.value).is_some() {
                    return Err(Fault("more than one Host"));
                }
                target::check_host(value)?;
            }
            7 if is("upgrade") => self.upgrade(value),
            10 if is("connection") => self.connection(value, carriers)?,
            14 if is("content-length") => self.lengths.content_length(value)?,
            14 if is("http2-settings") => self.has_hop_fields = true,
            17 if is("transfer-encoding") => self.lengths.transfer_encoding(value)?,
            _ => {}
        }
        Ok(())
    }

    /// `h2c` is not offered on: the upstream could not keep it.
    fn upgrade(&mut self, value: &[u8]) {
        for protocol in members(value) {
            if is_h2c(protocol) {
                self.has_hop_fields = true;
            } else {
                self.upgrade_field = true;
            }
        }
    }

    fn connection(&mut self, value: &[u8], carriers: &Carriers) -> Result<(), Fault> {
        for option in members(value) {
            let is = |known: &str| option.eq_ignore_ascii_case(known.as_bytes());
            match option.len() {
                5 if is("close") => self.close = true,
                7 if is("upgrade") => self.upgrade_option = true,
                10 if is("keep-alive") => self.keep_alive = true,
                _ => {
                    check_named(option, carriers)?;
                    self.has_hop_fields = true;
                }
            }
        }
        Ok(())
    }

    fn request(self, bytes: &[u8], start: StartLine<'_>, lines: Vec<Line>) -> Result<Request, Fault> {
        let StartLine { method, target, is_1_0 } = start;
        if self.host.is_none() && !is_1_0 {
            return Err(Fault("no Host"));
        }
        let form = Form::of(method, target)?;
        let target_authority = form.authority(target)?.map(|authority| Span::of(authority, bytes));
        let host_text = self.host.map(|host| host.of_head(bytes));
        let host_differs = match target_authority.map(|authority| authority.of_head(bytes)) {
            Some(authority) => {
                form == Form::Absolute && !host_text.is_some_and(|h| h.eq_ignore_ascii_case(authority))
            }
            None => false,
        };
        let method_kind = match method {
            b"HEAD" => Method::Head,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        };
        let framing = self.lengths.framing(is_1_0)?;
        if method_kind == Method::Connect && framing.is_some_and(|framing| framing != Framing::Length(0)) {
            return Err(Fault("CONNECT with a body"));
        }
        Ok(Request {
            lines,
            length: bytes.len(),
            method: method_kind,
            framing: framing.unwrap_or(Framing::Length(0)),
            is_1_0,
            close: if is_1_0 { !self.keep_alive || self.close } else { self.close },
            upgrade: self.upgrade_option && self.upgrade_field && !is_1_0,
            has_hop_fields: self.has_hop_fields,
            host_differs,
            method_text: Span::of(method, bytes),
            form,
            plain: form != Form::Absolute || target::is_plain_http(target),
            authority: target_authority.or(self.host),
            path: Span::of(form.path(target), bytes),
        })
    }
}

/// What `Connection` must not name: a proxy that obeyed would change where the message ends, whom it is for, or hide the
/// routing key from whoever comes next.
pub(super) fn check_named(option: &[u8], carriers: &Carriers) -> Result<(), Fault> {
    let is = |known: &str| option.eq_ignore_ascii_case(known.as_bytes());
    let fixed = ["host", "content-length", "transfer-encoding", "baggage", DECIDED_FIELD];
    if fixed.into_iter().any(is) || carriers.fields().any(is) {
        return Err(Fault("Connection names a field that belongs to the whole way"));
    }
    Ok(())
}

pub(super) fn is_h2c(protocol: &[u8]) -> bool {
    protocol.eq_ignore_ascii_case(b"h2c")
}

/// A request's head beside its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    request: &'a Request,
    bytes: &'a [u8],
}

impl HeadView for View<'_> {
    #[inline]
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.request.lines.iter().map(|line| (line.name.of_head(self.bytes), line.value.of_head(self.bytes)))
    }

    fn query(&self) -> Option<&[u8]> {
        let path = self.path_and_query();
        path.iter().position(|byte| *byte == b'?').and_then(|at| path.get(at + 1..))
    }
}

impl Head for View<'_> {
    fn method(&self) -> &[u8] {
        self.request.method_text.of_head(self.bytes)
    }

    fn authority(&self) -> Option<&[u8]> {
        self.request.authority.map(|authority| authority.of_head(self.bytes))
    }

    fn target_has_authority(&self) -> bool {
        matches!(self.request.form, Form::Absolute | Form::Authority)
    }

    fn path_and_query(&self) -> &[u8] {
        self.request.path.of_head(self.bytes)
    }

    fn version(&self) -> &'static str {
        if self.request.is_1_0 { "1.0" } else { "1.1" }
    }

    /// gRPC is told by its trailers, which HTTP/1 clients of it do not read.
    fn is_grpc(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
