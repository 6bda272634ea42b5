//! Query parameters: typed, and none that is not known.

use axum::extract::{FromRequestParts, Query};
use bellhop_api::{Problem, ProblemType};
use http::{Uri, request::Parts};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use super::Failure;

/// Query parameters of a type that refuses what it does not know.
#[derive(Debug)]
pub(super) struct Strict<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Strict<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(read)) => Ok(Self(read)),
            Err(error) => Err(Problem::new(ProblemType::BadRequest, error.body_text()).into()),
        }
    }
}

/// Of a write.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WriteQuery {
    /// Everything but the write; `All` is how Kubernetes says `true`.
    #[serde(default, deserialize_with = "flag")]
    pub(super) dry_run: bool,
}

/// Whether a write is asked for without being written, as those who answer it read that. One that they refuse is none.
pub(super) fn is_dry_run(uri: &Uri) -> bool {
    Query::<WriteQuery>::try_from_uri(uri).is_ok_and(|Query(query)| query.dry_run)
}

/// Of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ListQuery {
    pub(super) label_selector: Option<String>,
    pub(super) limit: Option<usize>,
    #[serde(rename = "continue")]
    pub(super) continue_token: Option<String>,
}

/// Of nothing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoQuery {}

/// `true`, `false`, and `All`.
pub(super) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    match &*String::deserialize(from)? {
        "true" | "1" | "All" => Ok(true),
        "false" | "0" | "" => Ok(false),
        other => Err(serde::de::Error::custom(format_args!("{other:?} is not true or false"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_answered_as_a_dry_run_is_one() {
        for (query, is) in [
            ("dryRun=true", true),
            ("dryRun=1", true),
            ("dryRun=All", true),
            ("dry%52un=tru%65", true),
            ("dryRun=false", false),
            ("dryRun=0", false),
            ("dryRun=", false),
            ("dryRun=perhaps", false),
            ("notdryRun=true", false),
            ("", false),
        ] {
            let uri = format!("/v1/namespaces/shop/sandboxes/a?{query}").parse().unwrap();
            assert_eq!(is_dry_run(&uri), is, "{query}");
        }
    }
}
