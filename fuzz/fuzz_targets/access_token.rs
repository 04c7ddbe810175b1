//! Access tokens: text as a stranger sends it; or a header and claims, one to a line, which are signed here so that what
//! comes after the signature is reached too.
#![no_main]

use countersign_fuzz::{access_token, encode};
use countersign_token::algorithm::Algorithm;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        access_token::check(text);
    }
    let Some(at) = input.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (header, claims) = (&input[..at], &input[at + 1..]);
    let algorithm = if header.windows(5).any(|word| word == b"HS256") { Algorithm::Hs256 } else { Algorithm::EdDsa };
    access_token::check(&access_token::signed(&encode(header), &encode(claims), algorithm));
});
