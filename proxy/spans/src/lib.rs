//! Spans of Bellhop's programs, as far as they are alike: the caller's trace as a head carries it, OpenTelemetry's standard
//! settings, a queue that delays nobody, and its export by OTLP. What a span tells of a request is each program's own.

mod export;
mod make;
pub mod settings;
pub mod trace;

pub use opentelemetry_otlp::ExporterBuildError;

pub use self::{
    export::{Exporter, OUTCOMES, Queue, Waiting, queue, resource},
    make::{Maker, Seen},
};
