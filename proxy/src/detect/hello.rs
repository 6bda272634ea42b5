//! A look at a TLS ClientHello (RFC 8446, 4.1.2) for the server's name (RFC 6066, 3). Pure, and only to count: the
//! connection is tunnelled whatever is found, so that nothing here has to be right for bytes to pass.

/// What the first bytes of a TLS client say about the server's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hello {
    /// No TLS handshake.
    NotTls,
    /// A ClientHello that names a server.
    Named,
    /// A whole ClientHello without a name.
    Unnamed,
    /// TLS, but the bytes end, or stop making sense, before the name would come.
    Unknown,
}

const RECORD_HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const NAME_TYPE_HOST: u8 = 0;

/// Looks at a client's first bytes. A hello cut into several records counts as [`Hello::Unknown`] where the name is not
/// in the first.
pub(crate) fn peek(bytes: &[u8]) -> Hello {
    let [RECORD_HANDSHAKE, 3, minor, _, _, hello @ ..] = bytes else { return Hello::NotTls };
    if *minor > 4 {
        return Hello::NotTls;
    }
    let record = match bytes.get(3..5) {
        Some([high, low]) => usize::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    };
    let mut reader = Reader(hello.get(..record).unwrap_or(hello));
    match reader.server_name() {
        Some(true) => Hello::Named,
        Some(false) => Hello::Unnamed,
        None => Hello::Unknown,
    }
}

/// The bytes not read yet. Every step answers `None` at their end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn server_name(&mut self) -> Option<bool> {
        if self.number(1)? != usize::from(CLIENT_HELLO) {
            return None;
        }
        let promised = self.number(3)?;
        // What comes behind the hello's own end is no part of it.
        let whole = match self.0.get(..promised) {
            Some(hello) => {
                self.0 = hello;
                true
            }
            None => false,
        };
        const VERSION_AND_RANDOM: usize = 2 + 32;
        self.take(VERSION_AND_RANDOM)?;
        self.counted(1)?; // session id
        self.counted(2)?; // cipher suites
        self.counted(1)?; // compression methods
        if self.0.is_empty() && whole {
            return Some(false);
        }
        let promised = self.number(2)?;
        let cut = self.0.len() < promised;
        let mut extensions = Reader(self.0.get(..promised).unwrap_or(self.0));
        while !extensions.0.is_empty() {
            let kind = extensions.number(2)?;
            let mut body = Reader(extensions.counted(2)?);
            if kind == usize::from(EXTENSION_SERVER_NAME) {
                let mut names = Reader(body.counted(2)?);
                let is_host = names.number(1)? == usize::from(NAME_TYPE_HOST);
                return Some(is_host && !names.counted(2)?.is_empty());
            }
        }
        if cut { None } else { Some(false) }
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of `bytes` bytes.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// As many bytes as a number of `prefix` bytes before them says.
    fn counted(&mut self, prefix: usize) -> Option<&'a [u8]> {
        let count = self.number(prefix)?;
        self.take(count)
    }
}
