//! Keeps count of the rows of the fault and bad-input matrices: each that is to be shown has a test that names it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The rows that must be shown, beside the code or here.
const ROWS: &str = "F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 F11 F12 F13 F14 F15 F16 F17 F18 F19 F20 F21 F22 F23 F25 F26 F27 \
    B1 B2 B3 B4 B5 B6 B7 B8 B9 B10 B11 B12 B13 B14 B15 B16 B17 B18 B20 B21";

/// A row counts as shown where a test file names it: `F4`, `f04_…` or `f4_…`.
#[test]
fn every_named_row_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut shown: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for room in ["proxy", "control", "tests"] {
        walk(&root.join(room), &mut |path| {
            for row in rows_in(&fs::read_to_string(path).unwrap_or_default()) {
                shown.entry(row).or_default().push(path.to_owned());
            }
        });
    }
    let missing: Vec<_> = ROWS.split(' ').filter(|row| !shown.contains_key(*row)).collect();
    assert!(missing.is_empty(), "no test names the rows {missing:?}");
}

/// All rows that the tests of a file name. Code that is no test does not count.
fn rows_in(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter_map(|word| {
            let row = word.split('_').next()?;
            let (letter, number) = row.split_at_checked(1)?;
            let letter = letter.to_ascii_uppercase();
            let number: u8 = number.parse().ok()?;
            (letter == "F" || letter == "B").then(|| format!("{letter}{number}"))
        })
        .collect()
}

fn walk(directory: &Path, look: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !["target", ".cache", "fuzz"].iter().any(|skipped| path.ends_with(skipped)) {
            walk(&path, look);
        } else if is_test(&path) {
            look(&path);
        }
    }
}

/// `tests.rs`, files in `tests/`, and files that hold tests.
fn is_test(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
        && !path.ends_with("rows.rs")
        && (path.iter().any(|part| part == "tests" || part == "lab")
            || path.ends_with("tests.rs")
            || fs::read_to_string(path).is_ok_and(|text| text.contains("#[cfg(test)]\nmod tests {")))
}
