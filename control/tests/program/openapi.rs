//! The OpenAPI document, held against the running program by schemathesis: requests made from the document and from its
//! edges, answers checked against it.

use std::{path::Path, process::Command};

use crate::harness::Control;

/// Requests for each operation in each phase. What is sent is the same in every run: `schemathesis.toml` has the seed.
const EXAMPLES: &str = "10";

#[test]
fn the_openapi_document_is_complete_and_true() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/.cache/schemathesis/bin/st");
    if !program.exists() {
        assert!(std::env::var_os("CI").is_none(), "in CI this must run: {} is missing", program.display());
        println!("skipped: schemathesis is not installed; `tests/run setup` as root does it");
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let control = Control::start(data.path());
    let run = Command::new(program)
        .current_dir(data.path())
        .arg("--config-file")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/openapi/schemathesis.toml"))
        .args(["run", &format!("http://{}/openapi.json", control.address), "--max-examples", EXAMPLES])
        .args(["--phases", "examples,coverage,fuzzing,stateful", "--no-color", "--continue-on-failure"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    // an empty selection would be a success too
    let tested = said.lines().find_map(|line| line.trim().strip_prefix("Tested: ")?.parse::<usize>().ok());
    assert!(tested.is_some_and(|tested| tested > 30), "{said}");
}
