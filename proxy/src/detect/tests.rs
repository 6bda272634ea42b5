//! Detection: tables and properties of the pure parts; sockets are in `app::tests`.

pub(crate) mod hello;
mod line;
mod settings;

use crate::detect::oracle;

/// The corpora of the fuzz targets `detection` and `client_hello`.
#[test]
fn the_fuzz_corpora_hold() {
    for (name, oracle) in
        [("detection", oracle::detection as fn(&[u8])), ("client_hello", oracle::client_hello)]
    {
        let corpus = format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut inputs = 0;
        for entry in std::fs::read_dir(&corpus).unwrap() {
            oracle(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs >= 8, "{corpus} is all but empty");
    }
}
