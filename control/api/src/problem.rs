//! Problem documents (RFC 9457): how every error of the control API looks.

use serde::{Deserialize, Serialize};

use crate::field::{FieldError, Invalid};

/// The media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{}", self.text())]
pub struct Problem {
    /// Which problem, as a URI; made by [`ProblemType::uri`].
    #[serde(rename = "type")]
    pub kind: String,
    /// The problem type in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This occurrence in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The faulty fields, where there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// The types of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemType {
    /// Not understood: broken JSON, a parameter that is none.
    BadRequest,
    /// Nobody knows who calls: no token, or one that is not good (any more).
    Unauthorized,
    /// Closed to this caller.
    Forbidden,
    /// No such thing.
    NotFound,
    /// Not with this method.
    MethodNotAllowed,
    /// Another object stands in the way.
    Conflict,
    /// A page token or a list that is too old.
    Gone,
    /// `If-Match` or `resourceVersion` names another version.
    PreconditionFailed,
    /// The body took too long.
    TimedOut,
    /// Body too large.
    TooLarge,
    /// Neither JSON nor a patch format that is known.
    UnsupportedMediaType,
    /// Fields with faults.
    Invalid,
    /// Too many requests at once.
    TooManyRequests,
    /// A fault of the server.
    Internal,
    /// Not now.
    Unavailable,
}

impl ProblemType {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::Gone,
        Self::PreconditionFailed,
        Self::TimedOut,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Invalid,
        Self::TooManyRequests,
        Self::Internal,
        Self::Unavailable,
    ];

    /// The HTTP status, the last part of the URI, and the title.
    #[must_use]
    pub fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::BadRequest => (400, "bad-request", "The request was not understood"),
            Self::Unauthorized => (401, "unauthorized", "It is not known who asks"),
            Self::Forbidden => (403, "forbidden", "The request is not permitted"),
            Self::NotFound => (404, "not-found", "There is no such thing"),
            Self::MethodNotAllowed => (405, "method-not-allowed", "The method is not allowed here"),
            Self::Conflict => (409, "conflict", "Another object stands in the way"),
            Self::Gone => (410, "gone", "The list has changed too much to continue"),
            Self::PreconditionFailed => (412, "precondition-failed", "The object has changed"),
            Self::TimedOut => (408, "timed-out", "The body took too long"),
            Self::TooLarge => (413, "too-large", "The body is too large"),
            Self::UnsupportedMediaType => (415, "unsupported-media-type", "The media type is not known here"),
            Self::Invalid => (422, "invalid", "Fields are not valid"),
            Self::TooManyRequests => (429, "too-many-requests", "Too many requests at once"),
            Self::Internal => (500, "internal", "The server failed"),
            Self::Unavailable => (503, "unavailable", "Not available now"),
        }
    }

    /// The problem as a URI.
    #[must_use]
    pub fn uri(self) -> String {
        format!("https://bellhop.dev/problems/{}", self.parts().1)
    }
}

impl Problem {
    /// A problem of a type.
    #[must_use]
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        let (status, _, title) = kind.parts();
        Self { kind: kind.uri(), title: title.into(), status, detail: detail.into(), errors: Vec::new() }
    }

    /// Fields with faults.
    #[must_use]
    pub fn invalid(invalid: Invalid) -> Self {
        let detail = invalid.to_string();
        Self { errors: invalid.errors, ..Self::new(ProblemType::Invalid, detail) }
    }

    /// Names the faulty field.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>, value: Option<&str>, detail: impl Into<String>) -> Self {
        let value = value.map(|value| value.chars().take(80).collect());
        self.errors.push(FieldError { field: field.into(), value, detail: detail.into() });
        self
    }

    fn text(&self) -> String {
        let what = if self.detail.is_empty() { &self.title } else { &self.detail };
        format!("{what} ({})", self.status)
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Self::invalid(invalid)
    }
}
