//! The routing keys of one request.

use std::fmt;

use bellhop_api::RoutingKey;
use smallvec::SmallVec;

/// A checked key as it came in a request: kept in place, so that reading one allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyText {
    len: u8,
    bytes: [u8; RoutingKey::MAX_BYTES],
}

impl KeyText {
    /// Takes `text` if it is a routing key, by the rule of [`RoutingKey::check`].
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Self> {
        match Self::split_off(text) {
            (key, []) => key,
            _ => None,
        }
    }

    /// Takes the bytes in front of `text` that may stand in a key, if they are one, and returns what stands behind them.
    #[inline]
    pub(crate) fn split_off(text: &[u8]) -> (Option<Self>, &[u8]) {
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let mut bytes = [0; RoutingKey::MAX_BYTES];
        let mut len = 0_u8;
        for (place, byte) in bytes.iter_mut().zip(text) {
            if !good(*byte) {
                break;
            }
            *place = *byte;
            len += 1;
        }
        let rest = text.get(usize::from(len)..).unwrap_or_default();
        let whole = len > 0 && !rest.first().is_some_and(|b| good(*b));
        (whole.then_some(Self { len, bytes }), rest)
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Display for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyText({self})")
    }
}

/// What the carriers of one request hold: keys in order, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keys {
    list: SmallVec<[KeyText; 1]>,
    /// A key was broken, or a list was cut by a raw comma.
    pub malformed: bool,
    /// There was more than is examined.
    pub over_limit: bool,
}

impl Keys {
    /// Most keys that one request may name; the rest is [`Keys::over_limit`]. As many as members are examined.
    pub const MAX: usize = 64;

    /// Whether no key was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many keys were found.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The keys, in the order in which they are asked for a route.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(KeyText::as_str)
    }

    /// The first key.
    #[must_use]
    pub fn first(&self) -> Option<&str> {
        self.list.first().map(KeyText::as_str)
    }

    /// Adds `text` at the end, unless it is there already; notes what is wrong with it.
    pub fn push(&mut self, text: &[u8]) {
        match KeyText::new(text) {
            None => self.malformed = true,
            Some(key) => self.add(key),
        }
    }

    pub(crate) fn add(&mut self, key: KeyText) {
        if self.list.contains(&key) {
            return;
        }
        if self.list.len() >= Self::MAX {
            self.over_limit = true;
        } else {
            self.list.push(key);
        }
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Keys {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut keys = Self::default();
        texts.into_iter().for_each(|text| keys.push(text.as_ref()));
        keys
    }
}

/// As `routing-key=` takes it: joined by `:`.
impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, key) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(":")?;
            }
            f.write_str(key)?;
        }
        Ok(())
    }
}
