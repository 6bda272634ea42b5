//! A request's head, kept for a second try while the engine below has the first one.
//!
//! A clone would share each name and value with the original, and pay for that twice for each field of each request. The
//! fields are written behind one another instead, and read again only where the request is sent again.

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, request::Parts};

/// What was kept of a head.
#[derive(Debug)]
pub(crate) struct Kept {
    method: Method,
    uri: Uri,
    version: Version,
    extensions: Extensions,
    fields: Vec<Field>,
    /// Names and values, as [`Field`] divides them.
    text: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Field {
    name: usize,
    value: usize,
    sensitive: bool,
}

impl Kept {
    /// Keeps what `head` says.
    pub(crate) fn of(head: &Parts) -> Self {
        let text = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let (mut fields, mut text) = (Vec::with_capacity(head.headers.len()), Vec::with_capacity(text));
        for (name, value) in &head.headers {
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(value.as_bytes());
            let (name, sensitive) = (name.as_str().len(), value.is_sensitive());
            fields.push(Field { name, value: value.len(), sensitive });
        }
        let Parts { method, uri, version, extensions, .. } = head;
        Self {
            method: method.clone(),
            uri: uri.clone(),
            version: *version,
            extensions: extensions.clone(),
            fields,
            text,
        }
    }

    /// Makes `head` say what was kept.
    pub(crate) fn restore(self, head: &mut Parts) {
        head.headers = self.headers();
        head.method = self.method;
        head.uri = self.uri;
        head.version = self.version;
        head.extensions = self.extensions;
    }

    fn headers(&self) -> HeaderMap {
        let (mut headers, mut text) = (HeaderMap::with_capacity(self.fields.len()), &*self.text);
        for field in &self.fields {
            let (name, rest) = text.split_at_checked(field.name).unwrap_or_default();
            let (value, rest) = rest.split_at_checked(field.value).unwrap_or_default();
            text = rest;
            // Both were what they are before.
            if let (Ok(name), Ok(mut value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
            {
                value.set_sensitive(field.sensitive);
                headers.append(name, value);
            }
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_head_that_was_kept_says_what_it_said() {
        let mut secret = HeaderValue::from_static("s");
        secret.set_sensitive(true);
        let request = Request::post("http://a:1/b?c")
            .version(Version::HTTP_2)
            .header("x", "1")
            .header("authorization", secret)
            .header("x", HeaderValue::from_bytes(b"\xff \t").unwrap())
            .header("empty", "")
            .extension(7_u8);
        let (before, ()) = request.body(()).unwrap().into_parts();
        let (mut after, ()) = Request::new(()).into_parts();
        Kept::of(&before).restore(&mut after);
        assert_eq!((&after.method, &after.uri, after.version), (&before.method, &before.uri, before.version));
        assert_eq!(after.headers, before.headers);
        assert!(after.headers["authorization"].is_sensitive() && !after.headers["x"].is_sensitive());
        assert_eq!(after.extensions.get::<u8>(), Some(&7));
    }
}
