//! Known answers of each form, for the tests of reading, of decoys and of the table of forms in the proto: those of
//! `tests/vectors/password_hashes.json`. Where a source is the release of a library, that release made the hash for it.

use serde::Deserialize;

/// A hash and its password.
#[derive(Deserialize)]
pub(crate) struct Vector {
    /// The form as the proto writes it.
    pub form: String,
    /// The publisher or the maker of the hash.
    pub source: String,
    pub password: String,
    pub hash: String,
    #[serde(default)]
    pub weak: bool,
}

pub(crate) fn all() -> Vec<Vector> {
    serde_json::from_str(include_str!("../../../tests/vectors/password_hashes.json")).expect("a list")
}
