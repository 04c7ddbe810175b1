//! Refresh tokens: text as a stranger sends it; and any bytes with the right tag, so that what comes after the tag is
//! reached too.
#![no_main]

use countersign_fuzz::refresh_token;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        refresh_token::check(text);
    }
    refresh_token::check_tagged(input);
});
