//! A request's head: parsed in place, and validated until only one reading of it is left (RFC 9112).

use bellhop_route::{Carriers, HeadView};
use httparse::ParserConfig;

use super::head::{HeadFault, Line, Span, with_fields};
use crate::{
    config::Limits,
    context::Head,
    error::ErrorKind,
    validate::{
        Method,
        framing::Framing,
        http1::{Fields, Sound, StartLine},
        size,
        target::Form,
    },
};

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
            let mut said = Fields::default();
            for field in request.headers.iter() {
                said.add(field.name, field.value, carriers)?;
                lines.push(Line {
                    name: Span::of(field.name.as_bytes(), bytes),
                    value: Span::of(field.value, bytes),
                });
            }
            let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
            let (method, target) = (method.as_bytes(), target.as_bytes());
            Ok((status, (StartLine { method, target, is_1_0: request.version == Some(0) }, said)))
        });
        let (start, said) = parsed.map_err(kind)?;
        size::target(start.target.len(), limits)?;
        let fields_start = lines.first().map_or(bytes.len(), |line| line.name.start());
        size::fields(lines.len(), bytes.len() - fields_start, limits)?;
        Ok(Self::of(&said.judge(start)?, start, bytes, lines))
    }

    #[inline]
    fn of(sound: &Sound<'_>, start: StartLine<'_>, bytes: &[u8], lines: Vec<Line>) -> Self {
        Self {
            lines,
            length: bytes.len(),
            method: sound.method,
            framing: sound.framing,
            is_1_0: start.is_1_0,
            close: sound.close,
            upgrade: sound.upgrade,
            has_hop_fields: sound.has_hop_fields,
            host_differs: sound.host_differs,
            method_text: Span::of(start.method, bytes),
            form: sound.form,
            plain: sound.plain,
            authority: sound.authority.map(|authority| Span::of(authority, bytes)),
            path: Span::of(sound.path, bytes),
        }
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
        HeadFault::Broken(fault) => fault.into(),
    }
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
