//! The hasher of the table's maps.
//!
//! Foreign requests only ever look keys up; what is *stored* comes from control alone, so that no flood of requests can
//! make a bucket longer. That leaves somebody who may register sandboxes and picks colliding keys: the seed, drawn for
//! each table, takes that from them. XXH3 costs a few nanoseconds on a key, a third of SipHash.

use std::hash::{BuildHasher, Hasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Makes [`SeededHasher`]s that agree with one another.
#[derive(Debug, Clone)]
pub(crate) struct Seeded(u64);

impl Default for Seeded {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0_u8))
    }
}

impl BuildHasher for Seeded {
    type Hasher = SeededHasher;

    fn build_hasher(&self) -> SeededHasher {
        SeededHasher(self.0)
    }
}

/// XXH3, each write seeded with what the writes before it gave.
pub(crate) struct SeededHasher(u64);

impl SeededHasher {
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for SeededHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    // Discriminants, lengths and ports: a folded multiplication is enough for a few bits.
    fn write_u16(&mut self, word: u16) {
        self.fold(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.fold(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.fold(word.cast_unsigned() as u64);
    }

    // The byte that ends every `str`: one map holds one type, so that it separates nothing.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
