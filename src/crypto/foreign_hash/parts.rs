//! Parts that the forms of hashes share: bounds, bases of text, parameters, comparing.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{
    Engine as _,
    alphabet::{self, Alphabet},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

/// The result of reading a form. None: the text has another form. An error says what was expected.
pub(super) type Read<T> = Option<Result<T, &'static str>>;

/// Rounds of a digest below which guessing is as cheap as with md5-crypt, which has so many, or cheaper.
pub(super) const LEAST_ROUNDS: u32 = 1000;
/// Shorter ones could be met by chance.
const MIN_OUTPUT: usize = 16;
const MAX_OUTPUT: usize = 64;
/// The digits of crypt(3) and of what came after it.
const ITOA64: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Padding may be there or not; what is left over in the last character is ignored, as bcrypt's makers did.
const fn base64(alphabet: &Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(alphabet, config)
}

pub(super) const STANDARD: GeneralPurpose = base64(&alphabet::STANDARD);
pub(super) const BCRYPT: GeneralPurpose = base64(&alphabet::BCRYPT);

/// Base64 as passlib writes it, with `.` for `+`.
pub(super) fn adapted(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.replace('.', "+")).ok()
}

/// The bytes that pairs of hexadecimal digits name.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

/// Hexadecimal digits in lower case.
pub(super) fn to_hex(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    Zeroizing::new(digits.map(|digit| digit + if digit < 10 { b'0' } else { b'a' - 10 }).collect())
}

/// Six bits in each digit, the low ones first.
pub(super) fn to_itoa64(bytes: &[u8]) -> Vec<u8> {
    let digits = bytes.chunks(3).flat_map(|three| {
        let value = three.iter().rev().fold(0, |value, byte| (value << 8) | usize::from(*byte));
        (0..=three.len()).map(move |place| (value >> (6 * place)) & 63)
    });
    digits.filter_map(|digit| ITOA64.get(digit).copied()).collect()
}

/// The value of a digit; None for what is none.
pub(super) fn from_itoa64(digit: u8) -> Option<u32> {
    ITOA64.iter().position(|known| *known == digit).and_then(|place| u32::try_from(place).ok())
}

/// The values of parameters that have exactly these names, in this order.
pub(super) fn parameters<'a, const N: usize>(text: &'a str, names: [&str; N]) -> Option<[&'a str; N]> {
    let mut pairs = text.split(',');
    let values: Option<Vec<&str>> =
        names.iter().map(|name| pairs.next()?.strip_prefix(name)?.strip_prefix('=')).collect();
    values?.try_into().ok().filter(|_| pairs.next().is_none())
}

/// The scheme in braces before a hash, as LDAP and Spring write it, in lower case; and what comes after it.
pub(super) fn scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.strip_prefix('{')?.split_once('}')?;
    Some((scheme.to_ascii_lowercase(), rest))
}

/// An output of a length that tells passwords apart.
pub(super) fn output(bytes: Option<Vec<u8>>) -> Option<Vec<u8>> {
    bytes.filter(|bytes| (MIN_OUTPUT..=MAX_OUTPUT).contains(&bytes.len()))
}

/// Compares in a time that does not depend on where the two differ.
pub(super) fn same(output: &[u8], expected: &[u8]) -> bool {
    verify_slices_are_equal(output, expected).is_ok()
}
