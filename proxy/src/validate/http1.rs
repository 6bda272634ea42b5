//! A request's head of HTTP/1, field by field as its parser hands them over (RFC 9112).

use bellhop_route::Carriers;

use super::{
    Fault, Method, authority,
    fields::{check_named, is_h2c, members},
    framing::{self, Framing, Lengths},
    target::{self, Form},
};

/// The line that a request begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StartLine<'a> {
    /// The method's text.
    pub(crate) method: &'a [u8],
    /// The target, as written.
    pub(crate) target: &'a [u8],
    /// Whether it is HTTP/1.0.
    pub(crate) is_1_0: bool,
}

/// What the fields say, gathered one by one.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a> {
    lengths: Lengths,
    host: Option<&'a [u8]>,
    close: bool,
    keep_alive: bool,
    upgrade_option: bool,
    upgrade_field: bool,
    has_hop_fields: bool,
}

/// A head of which one reading is left.
#[derive(Debug)]
pub(crate) struct Sound<'a> {
    /// What its method changes.
    pub(crate) method: Method,
    /// What its body is.
    pub(crate) framing: Framing,
    /// Whether the client's connection ends after the answer. In HTTP/1.0 it does, unless asked otherwise.
    pub(crate) close: bool,
    /// Whether it asks to switch protocols.
    pub(crate) upgrade: bool,
    /// Whether fields must be left out on the way (RFC 9110 §7.6.1): `Connection` names some, or HTTP/2 is offered.
    pub(crate) has_hop_fields: bool,
    /// Whether `Host` differs from the target's authority, which then counts (RFC 9112 §3.2.2).
    pub(crate) host_differs: bool,
    /// What the target is.
    pub(crate) form: Form,
    /// Whether plain HTTP can be spoken to the target; an absolute one may have another scheme.
    pub(crate) plain: bool,
    /// The authority: the target's, else `Host`'s.
    pub(crate) authority: Option<&'a [u8]>,
    /// Path and query.
    pub(crate) path: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Takes the next field in.
    ///
    /// # Errors
    /// It must not be there, or not with this value.
    #[inline]
    pub(crate) fn add(&mut self, name: &str, value: &'a [u8], carriers: &Carriers) -> Result<(), Fault> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is("host") => {
                if self.host.replace(value).is_some() {
                    return Err(Fault("more than one Host"));
                }
                authority::check(value)?;
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

    /// Judges the head as a whole, once all fields are in.
    ///
    /// # Errors
    /// It has no reading, or more than one.
    #[inline]
    pub(crate) fn judge(self, start: StartLine<'a>) -> Result<Sound<'a>, Fault> {
        let StartLine { method, target, is_1_0 } = start;
        if self.host.is_none() && !is_1_0 {
            return Err(Fault("no Host"));
        }
        let form = Form::of(method, target)?;
        let of_target = form.authority(target)?;
        let host_differs = form == Form::Absolute
            && of_target.is_some_and(|target| !self.host.is_some_and(|host| authority::agree(host, target)));
        let kind = Method::of(method);
        let framing = self.lengths.framing(is_1_0)?;
        framing::check_connect(kind, framing)?;
        Ok(Sound {
            method: kind,
            framing: framing.unwrap_or(Framing::Length(0)),
            close: if is_1_0 { !self.keep_alive || self.close } else { self.close },
            upgrade: self.upgrade_option && self.upgrade_field && !is_1_0,
            has_hop_fields: self.has_hop_fields,
            host_differs,
            form,
            plain: form != Form::Absolute || target::is_plain_http(target),
            authority: of_target.or(self.host),
            path: form.path(target),
        })
    }
}
