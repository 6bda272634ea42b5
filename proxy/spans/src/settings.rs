//! OpenTelemetry's standard settings, as flags and variables give them.

use http::Uri;
use percent_encoding::percent_decode_str;

/// The URL that spans are posted to, for a receiver's base URL; none where plain HTTP cannot be spoken there.
#[must_use]
pub fn receiver(typed: &str) -> Option<String> {
    let base = typed.trim().trim_end_matches('/');
    let is_plain_http = |uri: &Uri| uri.scheme_str() == Some("http") && uri.query().is_none();
    let has_host = |uri: &Uri| uri.host().is_some_and(|host| !host.is_empty());
    let is_receiver = base.parse::<Uri>().is_ok_and(|uri| is_plain_http(&uri) && has_host(&uri));
    is_receiver.then(|| format!("{base}/v1/traces"))
}

/// A list of `name=value`, values percent-encoded (OpenTelemetry's specification of resources); `faulty` is told each member
/// that is none.
pub fn attributes(typed: &str, mut faulty: impl FnMut(&str)) -> Vec<(String, String)> {
    let members = typed.split(',').map(str::trim).filter(|member| !member.is_empty());
    let mut attributes = Vec::new();
    for member in members {
        let value = |value: &str| percent_decode_str(value.trim()).decode_utf8().ok().map(String::from);
        match member.split_once('=').map(|(name, text)| (name.trim(), value(text))) {
            Some((name, Some(value))) if !name.is_empty() => attributes.push((name.to_owned(), value)),
            _ => faulty(member),
        }
    }
    attributes
}

/// The name in traces: as given, else as the attributes have it, else `default`.
#[must_use]
pub fn service_name(given: Option<String>, attributes: &[(String, String)], default: &str) -> String {
    let named = || attributes.iter().find(|(name, _)| name == "service.name");
    given.or_else(|| Some(named()?.1.clone())).unwrap_or_else(|| default.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_a_base_url_of_plain_http() {
        assert_eq!(
            receiver(" http://[::1]:4318/otlp/ ").as_deref(),
            Some("http://[::1]:4318/otlp/v1/traces")
        );
        for typed in ["", "https://a", "a:4318", "http://", "http://a?b"] {
            assert_eq!(receiver(typed), None, "{typed}");
        }
    }

    #[test]
    fn attributes_are_read_as_opentelemetry_says_and_what_is_none_is_told() {
        let mut faulty = Vec::new();
        let read = attributes("team=a%2Cb%20c ,,empty=,b,=1,c=%FF", |member| faulty.push(member.to_owned()));
        assert_eq!(read, [("team", "a,b c"), ("empty", "")].map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(faulty, ["b", "=1", "c=%FF"]);
    }

    #[test]
    fn a_name_that_is_given_goes_before_one_among_the_attributes() {
        let attributes = [("service.name".to_owned(), "routes".to_owned())];
        assert_eq!(service_name(Some("given".to_owned()), &attributes, "default"), "given");
        assert_eq!(service_name(None, &attributes, "default"), "routes");
        assert_eq!(service_name(None, &[], "default"), "default");
    }
}
