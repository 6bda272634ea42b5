//! The form of what stands in a store, and how an older form becomes the present one.
//!
//! A store says which form its records have. One that is older is migrated as it is opened, in one transaction, after a
//! copy was laid aside; a newer one is refused, since this program would lose what it does not understand.

use bytes::Bytes;

use super::Record;

/// The form of records that this program writes.
pub const SCHEMA: u32 = 1;

/// The records cannot be brought into the present form.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A later version wrote them.
    #[error(
        "it was written in form {found} by a later version of this program, which knows form {SCHEMA} and those before: \
         use that version, or restore a backup taken before it was started"
    )]
    Newer {
        /// The form found.
        found: u32,
    },
    /// A record does not have the form that the store says.
    #[error("record {name} does not have the form {form} that its store says: {source}")]
    Record {
        /// Which.
        name: String,
        /// The form that it should have.
        form: u32,
        /// Why not.
        source: serde_json::Error,
    },
}

/// One step from a form to the next: the record's new content, or `None` where it stays.
type Step = fn(&Record) -> Result<Option<Bytes>, serde_json::Error>;

/// `STEPS[n]` leads from form `n` to `n + 1`.
const STEPS: [Step; SCHEMA as usize] = [
    // Stores of form 0 did not say which form they have; their records are as those of form 1.
    |_| Ok(None),
];

/// Brings records from the form `found` into the present one; says which have changed.
///
/// # Errors
/// When the form is a later one, or a record does not have it.
pub(crate) fn migrate(found: u32, records: &mut [Record]) -> Result<Vec<usize>, SchemaError> {
    if found > SCHEMA {
        return Err(SchemaError::Newer { found });
    }
    walk(&STEPS, found, records)
}

fn walk(steps: &[Step], found: u32, records: &mut [Record]) -> Result<Vec<usize>, SchemaError> {
    let mut changed = Vec::new();
    for (form, step) in (0..).zip(steps).skip(found as usize) {
        for (at, record) in records.iter_mut().enumerate() {
            let fault = |source| SchemaError::Record { name: record.name.to_string(), form, source };
            if let Some(value) = step(record).map_err(fault)? {
                record.value = value;
                changed.push(at);
            }
        }
    }
    changed.sort_unstable();
    changed.dedup();
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: &'static str) -> Record {
        Record { name: "object/a".into(), value: Bytes::from_static(value.as_bytes()), revision: 1 }
    }

    /// From form 0 each gets a letter, from form 1 only those that are `"b"` change.
    const LETTERS: [Step; 2] = [
        |record| {
            serde_json::from_slice::<u8>(&record.value).map(|n| Some(format!("\"{}\"", n as char).into()))
        },
        |record| Ok((record.value == "\"b\"").then(|| Bytes::from_static(b"\"c\""))),
    ];

    #[test]
    fn each_step_is_taken_once_and_tells_what_it_changed() {
        let mut records = [record("97"), record("98")];
        assert_eq!(walk(&LETTERS, 0, &mut records).unwrap(), [0, 1]);
        assert_eq!(records.each_ref().map(|record| &*record.value), [&b"\"a\""[..], b"\"c\""]);
        let mut records = [record("\"a\""), record("\"b\"")];
        assert_eq!(walk(&LETTERS, 1, &mut records).unwrap(), [1]);
        assert_eq!(walk(&LETTERS, 2, &mut records).unwrap(), [0_usize; 0]);
    }

    #[test]
    fn a_later_form_is_refused_and_a_record_that_does_not_have_its_form_is_named() {
        assert!(matches!(migrate(SCHEMA + 1, &mut []), Err(SchemaError::Newer { found: 2 })));
        let error = walk(&LETTERS, 0, &mut [record("97"), record("{")]).unwrap_err().to_string();
        assert!(error.contains("object/a") && error.contains("form 0"), "{error}");
    }
}
