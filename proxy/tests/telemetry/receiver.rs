//! An OTLP receiver that decodes what it is sent.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::Span,
};
use prost::Message as _;

use crate::harness::{self, DEADLINE};

/// A receiver, and what it was sent.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    taken: Arc<Mutex<Vec<(Resource, Span)>>>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let taken = Arc::<Mutex<Vec<_>>>::default();
        let to = Arc::clone(&taken);
        let server = harness::serve(move |mut conn, _| {
            while let Some(message) = conn.message() {
                assert!(message.head.starts_with("POST /v1/traces HTTP/1.1"), "{}", message.head);
                assert_eq!(message.field("content-type"), Some("application/x-protobuf"));
                let request = ExportTraceServiceRequest::decode(&message.body[..]).unwrap();
                for of_resource in request.resource_spans {
                    let resource = of_resource.resource.unwrap();
                    let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                    to.lock().unwrap().extend(spans.map(|span| (resource.clone(), span)));
                }
                conn.send(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n",
                );
            }
        });
        Self { address: server.address, taken }
    }

    /// The flag that sends spans here.
    pub(crate) fn flag(&self) -> String {
        format!("--otlp-endpoint=http://{}", self.address)
    }

    /// The spans of requests for `path`, once there are `count`.
    pub(crate) fn spans(&self, path: &str, count: usize) -> Vec<Span> {
        let end = Instant::now() + DEADLINE;
        loop {
            let all = self.taken.lock().unwrap().clone();
            let spans: Vec<_> =
                all.into_iter().map(|(_, span)| span).filter(|s| text(s, "url.path") == path).collect();
            if spans.len() >= count {
                return spans;
            }
            assert!(Instant::now() < end, "{} of {count} for {path}", spans.len());
            thread::yield_now();
        }
    }

    pub(crate) fn resource(&self, name: &str) -> String {
        let taken = self.taken.lock().unwrap();
        shown(&taken.first().unwrap().0.attributes, name)
    }

    pub(crate) fn len(&self) -> usize {
        self.taken.lock().unwrap().len()
    }
}

/// An attribute as text; empty where it is absent.
pub(crate) fn text(span: &Span, name: &str) -> String {
    shown(&span.attributes, name)
}

fn shown(attributes: &[KeyValue], name: &str) -> String {
    let value = attributes.iter().find(|pair| pair.key == name).and_then(|pair| pair.value.clone());
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        None => String::new(),
        other => panic!("{name}: {other:?}"),
    }
}
