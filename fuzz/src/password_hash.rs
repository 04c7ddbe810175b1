//! Password hashes of other systems: what is read has a bounded cost. None is run.

use countersign::crypto::foreign_hash::{ForeignHash, parse_imported};

const MIB: u64 = 1024 * 1024;

/// Panics if a text that is read would cost too much to verify, or is not read again as it is stored. Whether it was read.
pub fn check(text: &str) -> bool {
    let Ok(hash) = parse_imported(text) else {
        return false;
    };
    assert!(!format!("{hash:?}").contains('$'));
    match ForeignHash::parse(hash.as_str()).expect("what is stored is read") {
        ForeignHash::Bcrypt { cost, expected, .. } => {
            assert!((4..=14).contains(&cost));
            assert_eq!(expected.len(), 23);
        }
        ForeignHash::Scrypt { params, expected, .. } => {
            assert_scrypt(params.log_n(), params.r(), params.p());
            assert_length(&expected);
        }
        ForeignHash::FirebaseScrypt { params, signer_key, expected, .. } => {
            assert_scrypt(params.log_n(), params.r(), params.p());
            assert_length(&expected);
            assert_eq!(signer_key.len(), expected.len());
        }
        ForeignHash::Pbkdf2 { iterations, expected, .. } => {
            assert!(iterations.get() <= 2_000_000);
            assert_length(&expected);
        }
        ForeignHash::Argon2 { function, salt, expected } => {
            let params = function.params();
            assert!(params.m_cost() <= 256 * 1024 && params.t_cost() <= 16 && params.p_cost() <= 8);
            assert!(salt.len() >= 8);
            assert_length(&expected);
        }
    }
    true
}

/// N, r and p of RFC 7914, which 128 N r p bytes are filled by.
fn assert_scrypt(log_n: u8, r: u32, p: u32) {
    let bytes = 128_u64.checked_shl(log_n.into()).and_then(|n| n.checked_mul(r.into())?.checked_mul(p.into()));
    assert!(bytes.is_some_and(|bytes| bytes <= 256 * MIB), "{log_n} {r} {p}");
}

fn assert_length(expected: &[u8]) {
    assert!((16..=64).contains(&expected.len()));
}
