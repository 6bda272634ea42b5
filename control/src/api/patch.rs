//! PATCH: JSON merge patch (RFC 7396) and JSON patch (RFC 6902), on the part of an object that is its author's.

use bellhop_api::{Invalid, Manifest, Problem, ProblemType};
use serde_json::Value;

use super::body::LARGEST;

/// JSON merge patch.
pub(super) const MERGE: &str = "application/merge-patch+json";
/// JSON patch.
pub(super) const JSON: &str = "application/json-patch+json";
/// Operations of a JSON patch at most. Each may nest what is there once more, and what nests too deep cannot be read.
const OPERATIONS: usize = 256;

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
        operate(&mut value, &patch)?;
    } else {
        json_patch::merge(&mut value, patch);
    }
    Ok(value)
}

/// One operation after the other: each `copy` may double the document, so that a few lines could fill all memory.
fn operate(value: &mut Value, patch: &[json_patch::PatchOperation]) -> Result<(), Problem> {
    if patch.len() > OPERATIONS {
        let rule = format!("{} operations; at most {OPERATIONS} are allowed", patch.len());
        return Err(Problem::new(ProblemType::TooLarge, rule));
    }
    for (n, operation) in patch.iter().enumerate() {
        json_patch::patch(value, std::slice::from_ref(operation)).map_err(|error| {
            let detail = format!(
                "the patch does not fit the object: operation {n}, at {:?}: {}",
                error.path, error.kind
            );
            Problem::new(ProblemType::Invalid, detail).at(
                error.path.to_string(),
                None,
                error.kind.to_string(),
            )
        })?;
        let copied = matches!(operation, json_patch::PatchOperation::Copy(_));
        if copied && serde_json::to_vec(value).map_or(usize::MAX, |text| text.len()) > LARGEST {
            let rule = format!("operation {n} makes the object larger than {LARGEST} bytes");
            return Err(Problem::new(ProblemType::TooLarge, rule));
        }
    }
    Ok(())
}
