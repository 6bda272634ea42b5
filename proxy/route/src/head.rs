//! The small view of a request head that both engines show.

/// A request head, as far as routing looks at it.
pub trait HeadView {
    /// Every header field, name and value, in the order of the wire. Names may be of any case.
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])>;

    /// The query of the request target, without its `?`.
    fn query(&self) -> Option<&[u8]>;

    /// Values of the fields called `name` (lower case), in order. A head that keeps an index overrides this.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        // Lengths differ nearly always, so that most fields cost one comparison.
        self.headers()
            .filter(move |(found, _)| {
                found.len() == name.len() && found.eq_ignore_ascii_case(name.as_bytes())
            })
            .map(|(_, value)| value)
    }
}

/// A head made of field lines alone; the query is absent. For tests, tools and fuzz targets.
impl<N: AsRef<[u8]>, V: AsRef<[u8]>> HeadView for [(N, V)] {
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    fn query(&self) -> Option<&[u8]> {
        None
    }
}
