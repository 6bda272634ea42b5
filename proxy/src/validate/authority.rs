//! What names a host: the value of `Host`, and the authority of a target (RFC 9110 §7.2, RFC 9113 §8.3.1).

use super::Fault;

/// Checks `uri-host [":" port]` (RFC 3986 §3.2.2). Empty is allowed: a target may have no authority.
pub(crate) fn check(value: &[u8]) -> Result<(), Fault> {
    let bad = Fault("a host that is none");
    let (inside, behind) = match value.strip_prefix(b"[") {
        Some(literal) => {
            let end = literal.iter().position(|byte| *byte == b']').ok_or(bad)?;
            let (inside, behind) = literal.split_at_checked(end).ok_or(bad)?;
            if inside.is_empty()
                || !inside.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.' | b'v'))
            {
                return Err(bad);
            }
            (inside, behind.get(1..).unwrap_or_default())
        }
        None => {
            let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
            value.split_at_checked(end).ok_or(bad)?
        }
    };
    let name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:".contains(byte);
    let port_is_good = match behind.split_first() {
        None => true,
        Some((b':', port)) => port.len() <= 5 && port.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    if inside.iter().all(name) && port_is_good { Ok(()) } else { Err(bad) }
}

/// Whether `Host` and a target's authority are the same.
#[inline]
pub(crate) fn agree(host: &[u8], authority: &[u8]) -> bool {
    host.eq_ignore_ascii_case(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_two_ports_user_names_blanks_or_open_brackets_are_none() {
        for good in ["", "a", "a.b:80", "127.0.0.1", "[::1]", "[::1]:8080", "a_b", "x:", "%41", "xn--1"] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good:?}");
        }
        for bad in [
            "a:b", "a:1:2", "u@a", "a b", "[::1", "::1", "[]", "[::1]x", "a/b", "a:123456", "a,\tb", "ä",
            "a?",
        ] {
            assert!(check(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
