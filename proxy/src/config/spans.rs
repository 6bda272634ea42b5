//! Spans: of which requests, where to, and under which name.
//!
//! The standard variables of OpenTelemetry are this section's environment, so that what configures the applications of a
//! host configures the proxy beside them.

use std::str::FromStr;

use bellhop_spans::settings;
use serde::Serialize;

use super::faults::Faults;

#[derive(Debug, Default, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Spans")]
pub(super) struct Flags {
    /// Which requests make an OpenTelemetry span: none, keyed, sampled (those whose caller's trace is sampled), all
    /// [default: keyed where --otlp-endpoint is given, else none]
    #[arg(long, env = "BELLHOP_SPANS", hide_env_values = true, value_name = "WHICH")]
    spans: Option<String>,
    /// Base URL of the receiver of spans, by OTLP over HTTP; /v1/traces is put behind it. Without TLS: a collector stands
    /// on this host or network
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Name of this proxy in traces [default: bellhop-proxy]
    #[arg(long, env = "OTEL_SERVICE_NAME", hide_env_values = true, value_name = "NAME")]
    service_name: Option<String>,
    /// What else receivers are told of this proxy: NAME=VALUE,…, values percent-encoded
    #[arg(long, env = "OTEL_RESOURCE_ATTRIBUTES", hide_env_values = true, value_name = "NAME=VALUE,…")]
    resource_attributes: Option<String>,
}

/// Spans: of which requests, where to, and under which name.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Spans {
    /// Which requests make one.
    pub spans: SpansOf,
    /// The whole URL of the receiver.
    pub otlp_endpoint: Option<String>,
    /// This proxy's name in traces.
    pub service_name: String,
    /// What else receivers are told of this proxy.
    pub resource_attributes: Vec<(String, String)>,
}

/// Which requests make a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SpansOf {
    /// No request.
    #[default]
    None,
    /// Those with a routing key.
    Keyed,
    /// Those whose caller's trace is sampled, keyed or not.
    Sampled,
    /// All.
    All,
}

impl FromStr for SpansOf {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "none" => Ok(Self::None),
            "keyed" => Ok(Self::Keyed),
            "sampled" => Ok(Self::Sampled),
            "all" => Ok(Self::All),
            _ => Err(()),
        }
    }
}

impl Flags {
    pub(super) fn resolve(self, faults: &mut Faults) -> Spans {
        let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let typed: Option<SpansOf> =
            faults.optional("spans", self.spans.as_ref(), "none, keyed, sampled, all");
        let endpoint = given(self.otlp_endpoint).filter(|_| typed != Some(SpansOf::None));
        let otlp_endpoint = endpoint.as_ref().and_then(|url| receiver(url, faults));
        if endpoint.is_none() && typed.is_some_and(|which| which != SpansOf::None) {
            faults.add("spans", self.spans.unwrap_or_default(), "needs --otlp-endpoint, where spans go");
        }
        let default = if otlp_endpoint.is_some() { SpansOf::Keyed } else { SpansOf::None };
        let resource_attributes =
            given(self.resource_attributes).map(|list| attributes(&list, faults)).unwrap_or_default();
        let service_name =
            settings::service_name(given(self.service_name), &resource_attributes, "bellhop-proxy");
        Spans { spans: typed.unwrap_or(default), otlp_endpoint, service_name, resource_attributes }
    }
}

/// The URL that spans are posted to.
fn receiver(typed: &str, faults: &mut Faults) -> Option<String> {
    let receiver = settings::receiver(typed);
    if receiver.is_none() {
        faults.add("otlp-endpoint", typed, "allowed: http://HOST[:PORT][/PATH]");
    }
    receiver
}

fn attributes(typed: &str, faults: &mut Faults) -> Vec<(String, String)> {
    settings::attributes(typed, |member| {
        faults.add("resource-attributes", member, "allowed: NAME=VALUE, the value percent-encoded");
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(spans: &str, endpoint: &str, attributes: &str) -> Result<Spans, String> {
        let mut faults = Faults::default();
        let flags = Flags {
            spans: Some(spans.to_owned()),
            otlp_endpoint: Some(endpoint.to_owned()),
            service_name: None,
            resource_attributes: Some(attributes.to_owned()),
        };
        let spans = flags.resolve(&mut faults);
        faults.none_or(spans).map_err(|faults| faults.to_string())
    }

    #[test]
    fn an_endpoint_alone_turns_spans_on_for_keyed_requests_and_none_turns_them_off() {
        for (spans, endpoint, which, url) in [
            ("", "", SpansOf::None, None),
            ("", "http://a:4318", SpansOf::Keyed, Some("http://a:4318/v1/traces")),
            ("", "http://[::1]:4318/", SpansOf::Keyed, Some("http://[::1]:4318/v1/traces")),
            ("sampled", "http://a/otlp/", SpansOf::Sampled, Some("http://a/otlp/v1/traces")),
            ("all", "http://a", SpansOf::All, Some("http://a/v1/traces")),
            ("none", "https://a", SpansOf::None, None),
        ] {
            let spans = resolve(spans, endpoint, "").unwrap();
            assert_eq!((spans.spans, spans.otlp_endpoint.as_deref()), (which, url), "{endpoint}");
            assert_eq!(spans.service_name, "bellhop-proxy");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (spans, endpoint, attributes, named) in [
            ("keyed", "", "", "--spans \"keyed\": needs --otlp-endpoint"),
            ("some", "http://a", "", "--spans \"some\""),
            ("", "https://a", "", "--otlp-endpoint \"https://a\""),
            ("", "a:4318", "", "--otlp-endpoint"),
            ("", "http://", "", "--otlp-endpoint"),
            ("", "", "a=1,b", "--resource-attributes \"b\""),
            ("", "", "=1", "--resource-attributes \"=1\""),
            ("", "", "a=%FF", "--resource-attributes"),
        ] {
            let told = resolve(spans, endpoint, attributes).unwrap_err();
            assert!(told.contains(named), "{told}");
        }
    }
}
