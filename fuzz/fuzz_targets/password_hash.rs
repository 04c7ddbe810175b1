//! Password hashes of other systems, as an import or a stored row holds them.
#![no_main]

use countersign_fuzz::password_hash;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        password_hash::check(text);
    }
});
