//! Keeps count of the rows of the fault and bad-input matrices: each that is to be shown has a test that names it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The rows that must be shown, beside the code or here.
const ROWS: &str = "F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 F11 F12 F13 F14 F15 F16 F17 F18 F19 F20 F21 F22 F23 F25 F26 F27 \
    B1 B2 B3 B4 B5 B6 B7 B8 B9 B10 B11 B12 B13 B14 B15 B16 B17 B18 B20 B21";

/// A row counts as shown where a test has it in its name (`f4_…`, `f04_…`), or in the comment that documents the test.
#[test]
fn every_row_has_a_test_of_its_number() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut shown = BTreeSet::new();
    for room in ["proxy", "control", "tests"] {
        for path in sources(&root.join(room)) {
            shown.extend(rows_in(&fs::read_to_string(path).expect("a source that can be read")));
        }
    }
    let missing: Vec<_> = ROWS.split(' ').filter(|row| !shown.contains(*row)).collect();
    assert!(missing.is_empty(), "no test names the rows {missing:?}");
}

#[test]
fn only_the_names_of_tests_and_what_documents_them_count() {
    let text = r#"
//! F1
/// F2
fn no_test() { let f3 = "F3"; /* B3 */ }

/// F4 and F5: both.
/// B4
#[tokio::test(start_paused = true)]
async fn f06_a_sentence() {
    // F7
}

/// F8

#[test]
fn b9_and_b10_with_b(){}

    vec![apart("f11_in_the_lab", f12), apart(
        "f13_on_a_line_of_its_own",
        f14,
    )]
"#;
    assert_eq!(rows_in(text), ["F4", "F5", "B4", "F6", "B9", "B10", "F11", "F13"]);
}

/// All rows that the tests of a file name.
fn rows_in(text: &str) -> Vec<String> {
    let (mut rows, mut documented, mut is_test) = (Vec::new(), Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            documented.extend(comment.split(|c: char| !c.is_ascii_alphanumeric()).filter_map(row));
        } else if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else {
            let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if let Some(name) = name.filter(|_| is_test) {
                rows.append(&mut documented);
                rows.extend(named(name));
            }
            documented.clear();
            is_test = false;
        }
    }
    // the lab's tests, which are values
    let values = text.split("apart(").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
    rows.extend(values.flat_map(named));
    rows
}

/// The rows in the name that a text begins with.
fn named(text: &str) -> impl Iterator<Item = String> {
    let name = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
    name.split('_')
        .filter(|word| !word.starts_with(['F', 'B']))
        .filter_map(|word| row(&word.to_ascii_uppercase()))
}

/// The row that a word names; leading zeros are not its own.
fn row(word: &str) -> Option<String> {
    let (letter, number) = word.split_at_checked(1)?;
    let number: u8 = number.parse().ok()?;
    (letter == "F" || letter == "B").then(|| format!("{letter}{number}"))
}

/// All sources below a directory; what is built or fetched is none.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let below = entries.flat_map(|entry| {
        let path = entry.path();
        match path.is_dir() {
            true if ["target", ".cache", "fuzz"].iter().any(|skipped| path.ends_with(skipped)) => Vec::new(),
            true => sources(&path),
            false => vec![path],
        }
    });
    below.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}
