//! The committed inputs of the fuzz targets, run as ordinary tests.

use std::{fs, path::Path};

fn inputs(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = fs::read_dir(folder).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap());
    let files: Vec<_> = files.collect();
    assert!(!files.is_empty(), "no corpus of {name}");
    files
}

/// Every input, and what becomes of it when bytes are changed, left out, doubled, or inputs are joined.
pub(crate) fn mutated(name: &str, each: u32, check: fn(&[u8])) {
    let inputs = inputs(name);
    let mut random = fastrand::Rng::with_seed(7);
    for input in &inputs {
        check(input);
        for _ in 0..each {
            let mut changed = input.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..changed.len().max(1)).min(changed.len().saturating_sub(1));
                let odd = *random.choice(b"\r\n\0 \t:;,0159afZ/?#\x7f\xff").unwrap();
                match random.u8(..6) {
                    0 => changed[at] = odd,
                    1 => changed.insert(at, odd),
                    2 if changed.len() > 1 => drop(changed.remove(at)),
                    3 => changed[at] ^= 0x20,
                    4 => changed.extend_from_slice(&random.choice(&inputs).unwrap()[1..]),
                    _ => {
                        let piece = changed[at..(at + 12).min(changed.len())].to_vec();
                        let to = random.usize(1..=changed.len());
                        changed.splice(to..to, piece);
                    }
                }
            }
            check(&changed);
        }
    }
}
