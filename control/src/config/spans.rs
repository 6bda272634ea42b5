//! Spans: of which requests, where to, and under which name.
//!
//! The standard variables of OpenTelemetry are this section's environment, as they are of `bellhop-proxy`.

use bellhop_spans::settings;
use clap::{Args, ValueEnum};

/// Flags of this section.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Which requests make an OpenTelemetry span; a proxy's report makes one only where its caller's trace is sampled
    /// [default: all where --otlp-endpoint is given, else none]
    #[arg(long, value_enum, value_name = "WHICH", env = "BELLHOP_SPANS")]
    spans: Option<SpansOf>,

    /// Base URL of the receiver of spans, by OTLP over HTTP; /v1/traces is put behind it. Without TLS: a collector stands on
    /// this host or network
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,

    /// Name of this control plane in traces [default: bellhop-control]
    #[arg(long, value_name = "NAME", env = "OTEL_SERVICE_NAME")]
    service_name: Option<String>,

    /// What else receivers are told of this control plane: NAME=VALUE,…, values percent-encoded
    #[arg(long, value_name = "NAME=VALUE,…", env = "OTEL_RESOURCE_ATTRIBUTES")]
    resource_attributes: Option<String>,
}

/// Which requests make a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum SpansOf {
    /// No request.
    #[default]
    None,
    /// Those whose caller's trace is sampled.
    Sampled,
    /// All.
    All,
}

/// Spans: of which requests, where to, and under which name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans {
    /// Which requests make one.
    pub spans: SpansOf,
    /// The whole URL of the receiver.
    pub otlp_endpoint: Option<String>,
    /// This control plane's name in traces.
    pub service_name: String,
    /// What else receivers are told of it.
    pub resource_attributes: Vec<(String, String)>,
}

impl Flags {
    pub(super) fn resolve(self, faults: &mut Vec<String>) -> Spans {
        let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let endpoint = given(self.otlp_endpoint).filter(|_| self.spans != Some(SpansOf::None));
        let otlp_endpoint = endpoint.as_ref().and_then(|url| receiver(url, faults));
        if endpoint.is_none() && self.spans.is_some_and(|which| which != SpansOf::None) {
            faults.push("--spans: needs --otlp-endpoint, where spans go".to_owned());
        }
        let default = if otlp_endpoint.is_some() { SpansOf::All } else { SpansOf::None };
        let resource_attributes =
            given(self.resource_attributes).map(|list| attributes(&list, faults)).unwrap_or_default();
        let service_name =
            settings::service_name(given(self.service_name), &resource_attributes, "bellhop-control");
        Spans { spans: self.spans.unwrap_or(default), otlp_endpoint, service_name, resource_attributes }
    }
}

/// The URL that spans are posted to.
fn receiver(typed: &str, faults: &mut Vec<String>) -> Option<String> {
    let receiver = settings::receiver(typed);
    if receiver.is_none() {
        faults.push(format!("--otlp-endpoint {typed}: allowed is http://HOST[:PORT][/PATH]"));
    }
    receiver
}

fn attributes(typed: &str, faults: &mut Vec<String>) -> Vec<(String, String)> {
    settings::attributes(typed, |member| {
        faults.push(format!(
            "--resource-attributes {member}: allowed is NAME=VALUE, the value percent-encoded"
        ));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(spans: Option<SpansOf>, endpoint: &str, attributes: &str) -> Result<Spans, String> {
        let mut faults = Vec::new();
        let flags = Flags {
            spans,
            otlp_endpoint: Some(endpoint.to_owned()),
            service_name: None,
            resource_attributes: Some(attributes.to_owned()),
        };
        let spans = flags.resolve(&mut faults);
        if faults.is_empty() { Ok(spans) } else { Err(faults.join("\n")) }
    }

    #[test]
    fn an_endpoint_alone_turns_spans_on_and_none_turns_them_off() {
        for (spans, endpoint, which, url) in [
            (None, "", SpansOf::None, None),
            (None, "http://a:4318", SpansOf::All, Some("http://a:4318/v1/traces")),
            (Some(SpansOf::Sampled), "http://a/otlp/", SpansOf::Sampled, Some("http://a/otlp/v1/traces")),
            (Some(SpansOf::None), "https://a", SpansOf::None, None),
        ] {
            let spans = resolve(spans, endpoint, "").unwrap();
            assert_eq!((spans.spans, spans.otlp_endpoint.as_deref()), (which, url), "{endpoint}");
            assert_eq!(spans.service_name, "bellhop-control");
        }
        let named = resolve(None, "", "service.name=routes,team=a%2Cb").unwrap();
        assert_eq!(named.service_name, "routes");
        assert_eq!(named.resource_attributes[1], ("team".to_owned(), "a,b".to_owned()));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (spans, endpoint, attributes, named) in [
            (Some(SpansOf::All), "", "", "--spans: needs --otlp-endpoint"),
            (None, "https://a", "", "--otlp-endpoint https://a"),
            (None, "a:4318", "", "--otlp-endpoint"),
            (None, "", "a=1,b", "--resource-attributes b"),
            (None, "", "a=%FF", "--resource-attributes a=%FF"),
        ] {
            let told = resolve(spans, endpoint, attributes).unwrap_err();
            assert!(told.contains(named), "{told}");
        }
    }
}
