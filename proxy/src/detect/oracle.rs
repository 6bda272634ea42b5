//! What must hold whatever a peer sends: for the fuzz targets, and for their corpora as ordinary tests.

use super::{
    hello::{self, Hello},
    line,
    settings::{self, ServerFirst},
};

/// A client's and a server's first bytes: what was decided stays decided, however the bytes are split into reads.
///
/// # Panics
/// Where that does not hold.
#[expect(clippy::panic, reason = "this is how an oracle speaks")]
pub(crate) fn detection(bytes: &[u8]) {
    let whole = line::classify(bytes);
    let server = settings::classify(bytes);
    for end in 0..=bytes.len() {
        let so_far = bytes.get(..end).unwrap_or_default();
        match line::classify(so_far) {
            Some(early) if Some(early) != whole => {
                panic!("client: {early:?} after {end} bytes, then {whole:?}")
            }
            Some(early) if line::classify_late(so_far) != early => panic!("client: late is not {early:?}"),
            // As many bytes as decide a line at the latest.
            None if end > line::LONGEST_LINE + 2 => panic!("client: undecided after {end} bytes"),
            _ => {}
        }
        match settings::classify(so_far) {
            ServerFirst::Undecided => {}
            early if early != server => panic!("server: {early:?} after {end} bytes, then {server:?}"),
            _ => {}
        }
    }
}

/// A client's hello: what is known of it stays known.
///
/// # Panics
/// Where that does not hold.
#[expect(clippy::panic, reason = "this is how an oracle speaks")]
pub(crate) fn client_hello(bytes: &[u8]) {
    let whole = hello::peek(bytes);
    for end in 0..bytes.len() {
        let early = hello::peek(bytes.get(..end).unwrap_or_default());
        if matches!(early, Hello::Named | Hello::Unnamed) && early != whole {
            panic!("{early:?} after {end} bytes, then {whole:?}");
        }
    }
}
