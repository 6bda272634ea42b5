//! What a server that speaks first says: an HTTP/2 SETTINGS frame, as gRPC servers send on accept, or anything else.
//! Pure.

/// The first bytes of a server that spoke before its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerFirst {
    /// Could still begin a SETTINGS frame.
    Undecided,
    /// A SETTINGS frame begins here: decides nothing, and is held back.
    Settings,
    /// Another protocol.
    Opaque,
}

/// A frame's header (RFC 9113, 4.1): length in 24 bits, type, flags, stream.
const HEADER_BYTES: usize = 9;
const TYPE_SETTINGS: u8 = 4;
/// Nobody may send more before it was allowed (RFC 9113, 4.2).
const LONGEST_FRAME: usize = 16_384;
/// A SETTINGS frame is a row of these (RFC 9113, 6.5.1).
const SETTING_BYTES: usize = 6;

/// Looks at a server's first bytes.
pub(crate) fn classify(bytes: &[u8]) -> ServerFirst {
    let length_fits = match bytes {
        [] => true,
        [high, rest @ ..] if *high == 0 => match rest {
            [middle, low, ..] => {
                let length = usize::from(*middle) << 8 | usize::from(*low);
                length <= LONGEST_FRAME && length.is_multiple_of(SETTING_BYTES)
            }
            [middle] => usize::from(*middle) << 8 <= LONGEST_FRAME,
            [] => true,
        },
        _ => false,
    };
    let kind_and_stream = bytes.iter().skip(3).take(HEADER_BYTES - 3);
    let wanted = [TYPE_SETTINGS, 0, 0, 0, 0, 0];
    if !length_fits || kind_and_stream.zip(wanted).any(|(byte, wanted)| *byte != wanted) {
        ServerFirst::Opaque
    } else if bytes.len() < HEADER_BYTES {
        ServerFirst::Undecided
    } else {
        ServerFirst::Settings
    }
}
