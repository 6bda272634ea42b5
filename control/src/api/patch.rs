//! PATCH: JSON merge patch (RFC 7396) and JSON patch (RFC 6902), on the part of an object that is its author's.

use bellhop_api::{Invalid, Manifest, Problem, ProblemType};
use serde_json::Value;

/// JSON merge patch.
pub(super) const MERGE: &str = "application/merge-patch+json";
/// JSON patch.
pub(super) const JSON: &str = "application/json-patch+json";

/// Applies a patch of a media type to an object.
pub(super) fn apply(kind: &str, patch: &Value, object: &Manifest) -> Result<Value, Problem> {
    let mut value = serde_json::to_value(object).map_err(|error| {
        Problem::new(ProblemType::Internal, format!("the object cannot be written: {error}"))
    })?;
    if kind == JSON {
        let patch: json_patch::Patch =
            bellhop_api::manifest::typed(patch.clone()).map_err(|Invalid { errors }| {
                let mut problem = Problem::new(ProblemType::BadRequest, "not a JSON patch (RFC 6902)");
                problem.errors = errors;
                problem
            })?;
        let failed = |error: json_patch::PatchError| {
            let detail = format!("the patch does not fit the object: {error}");
            Problem::new(ProblemType::Invalid, detail).at(
                error.path.to_string(),
                None,
                error.kind.to_string(),
            )
        };
        json_patch::patch(&mut value, &patch).map_err(failed)?;
    } else {
        json_patch::merge(&mut value, patch);
    }
    Ok(value)
}
