use proptest::prelude::*;

use crate::detect::hello::{
    Hello::{Named, NotTls, Unknown, Unnamed},
    peek,
};

/// A ClientHello in one record, with these extensions.
pub(crate) fn client_hello(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0]);
    body.extend([0, 2, 0x13, 0x01]);
    body.extend([1, 0]);
    let mut all = Vec::new();
    for (kind, value) in extensions {
        all.extend(kind.to_be_bytes());
        all.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        all.extend(*value);
    }
    body.extend(u16::try_from(all.len()).unwrap().to_be_bytes());
    body.extend(all);
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
    record.push(1);
    record.extend(u32::try_from(body.len()).unwrap().to_be_bytes().into_iter().skip(1));
    record.extend(body);
    record
}

/// A server name extension's body.
pub(crate) const NAME: &[u8] = b"\0\x08\0\0\x05route";

#[test]
fn a_hello_says_whether_it_names_a_server() {
    assert_eq!(peek(&client_hello(&[(43, b"\x02\x03\x04"), (0, NAME)])), Named);
    assert_eq!(peek(&client_hello(&[(43, b"\x02\x03\x04")])), Unnamed);
    assert_eq!(peek(&client_hello(&[])), Unnamed);
    assert_eq!(peek(b"GET / HTTP/1.1\r\n\r\n"), NotTls);
    assert_eq!(peek(b""), NotTls);
    assert_eq!(peek(b"\x16\x03\x01"), NotTls);
    assert_eq!(peek(b"\x16\x03\x01\x00\x00"), Unknown);
}

/// B14: garbage, cut and fragmented hellos are looked at without harm.
#[test]
fn a_hello_cut_anywhere_is_unknown_and_never_misread() {
    let hello = client_hello(&[(43, b"\x02\x03\x04"), (0, NAME), (16, &[0; 300])]);
    for end in 5..hello.len() {
        let found = peek(&hello[..end]);
        assert!(matches!(found, Named | Unknown), "{end}: {found:?}");
    }
    assert_eq!(peek(&hello), Named);
}

proptest! {
    /// B14.
    #[test]
    fn any_bytes_are_looked_at_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        peek(&bytes);
        let mut garbled = client_hello(&[(43, b"\x02\x03\x04"), (0, NAME)]);
        for (at, byte) in bytes.iter().enumerate().filter(|(at, _)| at % 7 == 0) {
            let at = 5 + at % (garbled.len() - 5);
            garbled[at] = *byte;
        }
        peek(&garbled);
    }
}
