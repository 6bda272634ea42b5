//! A fault of a manifest: which field, what stood there, what is allowed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One fault of one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldError {
    /// Path of the field from the object's root, as in `spec.overrides[0].endpoints[1]`.
    pub field: String,
    /// What stood there, cut to 80 characters; absent where something is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What is wrong with it, and what is allowed.
    pub detail: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            return f.write_str(&self.detail);
        }
        match &self.value {
            Some(value) => write!(f, "{}: {value:?}: {}", self.field, self.detail),
            None => write!(f, "{}: {}", self.field, self.detail),
        }
    }
}

/// Everything that is wrong with one object; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// The faults, in the order of the fields.
    pub errors: Vec<FieldError>,
}

impl Invalid {
    /// One fault.
    #[must_use]
    pub fn one(field: impl Into<String>, value: Option<&str>, detail: impl fmt::Display) -> Self {
        let mut faults = Faults::default();
        faults.push(field, value, detail);
        Self { errors: faults.0 }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.errors.iter().enumerate() {
            write!(f, "{}{error}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// Collects faults, so that all are told at once.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<FieldError>);

impl Faults {
    pub(crate) fn push(&mut self, field: impl Into<String>, value: Option<&str>, detail: impl fmt::Display) {
        let value = value.map(|value| value.chars().take(80).collect());
        self.0.push(FieldError { field: field.into(), value, detail: detail.to_string() });
    }

    /// Notes the fault of a checked value; passes on what is sound.
    pub(crate) fn check<T, E: fmt::Display>(
        &mut self,
        field: impl Into<String>,
        value: &str,
        checked: Result<T, E>,
    ) -> Option<T> {
        checked.map_err(|error| self.push(field, Some(value), error)).ok()
    }

    pub(crate) fn into_result(self) -> Result<(), Invalid> {
        if self.0.is_empty() { Ok(()) } else { Err(Invalid { errors: self.0 }) }
    }
}
