//! `sandbox create` and `group create`: objects without a file.

use bellhop_api::{
    Fallback, GroupSpec, Manifest, Override, Protocol, Sandbox, SandboxGroup, SandboxSpec, Selector,
};

use super::{Session, apply::write};
use crate::{
    args::{CreateGroup, CreateSandbox},
    exit::Failure,
};

pub(super) async fn sandbox(session: &Session, what: &CreateSandbox) -> Result<(), Failure> {
    let overrides = what.overrides.iter().map(|text| {
        let mut each = parse_override(text)?;
        each.protocol = match what.protocol.as_str() {
            "http1" => Protocol::Http1,
            "http2" => Protocol::Http2,
            _ => Protocol::Same,
        };
        each.fallback = if what.fallback_to_baseline { Fallback::Baseline } else { Fallback::None };
        Ok(each)
    });
    let spec = SandboxSpec {
        routing_key: what.key.as_ref().map(ToString::to_string),
        ttl: what.ttl.clone(),
        overrides: overrides.collect::<Result<_, Failure>>()?,
    };
    let mut object = Sandbox::new(&session.namespace, &what.name, spec);
    object.metadata.labels = pairs("--label", &what.labels)?;
    object.validate().map_err(|why| Failure::Usage(why.to_string()))?;
    write(session, &[Manifest::Sandbox(object)], what.dry_run, what.wait).await
}

pub(super) async fn group(session: &Session, what: &CreateGroup) -> Result<(), Failure> {
    let labels = pairs("--selector", &what.selector)?;
    let selector = (!labels.is_empty()).then(|| Selector { match_labels: labels, ..Selector::default() });
    let spec = GroupSpec {
        routing_key: what.key.as_ref().map(ToString::to_string),
        sandboxes: what.sandboxes.clone(),
        selector,
        ttl: what.ttl.clone(),
        ..GroupSpec::default()
    };
    let object = SandboxGroup::new(&session.namespace, &what.name, spec);
    object.validate().map_err(|why| Failure::Usage(why.to_string()))?;
    write(session, &[Manifest::SandboxGroup(object)], what.dry_run, what.wait).await
}

/// Reads `SERVICE[.NAMESPACE][:PORT]=ENDPOINT[,ENDPOINT…]`.
fn parse_override(text: &str) -> Result<Override, Failure> {
    let usage = |why: &str| {
        Failure::Usage(format!(
            "--override {text:?}: {why}; write SERVICE:PORT=HOST:PORT, for example route:8080=10.0.0.7:8080"
        ))
    };
    let (destination, endpoints) = text.split_once('=').ok_or_else(|| usage("has no ="))?;
    let (service, port) = match destination.rsplit_once(':') {
        Some((service, port)) => (service, Some(port.parse().map_err(|_| usage("has a port that is none"))?)),
        None => (destination, None),
    };
    let endpoints: Vec<String> = endpoints.split(',').map(|each| each.trim().to_owned()).collect();
    Ok(Override { service: service.to_owned(), port, endpoints, ..Override::default() })
}

fn pairs(flag: &str, texts: &[String]) -> Result<bellhop_api::Labels, Failure> {
    let each = texts.iter().map(|text| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Failure::Usage(format!("{flag} {text:?}: has no =; write NAME=VALUE"))),
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_reads_service_port_and_endpoints() {
        let each = parse_override("route.team-a:8080=10.0.0.7:8080,[fd00::7]:8080").unwrap();
        assert_eq!((each.service.as_str(), each.port), ("route.team-a", Some(8080)));
        assert_eq!(each.endpoints, ["10.0.0.7:8080", "[fd00::7]:8080"]);
        assert_eq!(parse_override("route=10.0.0.7").unwrap().port, None);
    }

    #[test]
    fn an_override_that_is_none_says_how_to_write_one() {
        for text in ["route", "route:x=10.0.0.7", "route:70000=10.0.0.7"] {
            let why = parse_override(text).unwrap_err().to_string();
            assert!(why.contains(text) && why.contains("SERVICE:PORT=HOST:PORT"), "{why}");
        }
    }
}
