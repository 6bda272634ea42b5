//! What names a host: the value of `Host`, and the authority of a target (RFC 9110 §7.2, RFC 9113 §8.3.1).

use super::Fault;

/// What a host's name is made of (RFC 3986 §3.2.2): a table, since every request's authority is asked, byte by byte.
#[expect(clippy::indexing_slicing, reason = "the compiler does it")]
const IN_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let allowed = b"-._~%!$&'()*+,;=ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut at = 0;
    while at < allowed.len() {
        table[allowed[at] as usize] = true;
        at += 1;
    }
    table
};

/// Checks `uri-host [":" port]` (RFC 3986 §3.2.2). Empty is allowed: a target may have no authority.
#[inline]
pub(crate) fn check(value: &[u8]) -> Result<(), Fault> {
    let is_outside = |byte: &u8| !IN_NAME.get(usize::from(*byte)).is_some_and(|inside| *inside);
    let behind = match value.iter().position(is_outside) {
        None => return Ok(()),
        Some(0) if value.starts_with(b"[") => behind_literal(value),
        Some(end) => value.get(end..),
    };
    match behind.and_then(<[u8]>::split_first) {
        Some((b':', port)) if port.len() <= 5 && port.iter().all(u8::is_ascii_digit) => Ok(()),
        _ if behind.is_some_and(<[u8]>::is_empty) => Ok(()),
        _ => Err(Fault("a host that is none")),
    }
}

/// What stands behind an address in brackets; none where the brackets hold none.
fn behind_literal(value: &[u8]) -> Option<&[u8]> {
    let literal = value.strip_prefix(b"[")?;
    let (inside, behind) = literal.split_at_checked(memchr::memchr(b']', literal)?)?;
    let is_good = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'v');
    (!inside.is_empty() && inside.iter().all(is_good)).then(|| behind.get(1..).unwrap_or_default())
}

/// Whether `Host` and a target's authority are the same.
#[inline]
pub(crate) fn agree(host: &[u8], authority: &[u8]) -> bool {
    host.eq_ignore_ascii_case(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule, written out (RFC 3986 §3.2.2).
    fn is_host(value: &[u8]) -> bool {
        let (inside, behind, of_name): (_, _, &[u8]) = match value {
            [b'[', literal @ ..] => {
                let Some(end) = literal.iter().position(|byte| *byte == b']') else { return false };
                (&literal[..end], &literal[end + 1..], b":.vabcdefABCDEF0123456789")
            }
            name => {
                let end = name.iter().position(|byte| *byte == b':').unwrap_or(name.len());
                let letters =
                    b"-._~%!$&'()*+,;=abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
                (&name[..end], &name[end..], letters)
            }
        };
        let port = match behind {
            [] => true,
            [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
            _ => false,
        };
        inside.iter().all(|byte| of_name.contains(byte)) && port && !value.starts_with(b"[]")
    }

    #[test]
    fn the_table_says_of_every_byte_at_every_place_what_the_rule_says() {
        for around in ["", "a", "a:", "a:1", "[", "[:", "[::1]", "[::1]:8", "[]", "a.b:80"] {
            for at in 0..=around.len() {
                for byte in 0..=255 {
                    let value = [&around.as_bytes()[..at], &[byte], &around.as_bytes()[at..]].concat();
                    assert_eq!(check(&value).is_ok(), is_host(&value), "{}", value.escape_ascii());
                }
            }
        }
    }

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
