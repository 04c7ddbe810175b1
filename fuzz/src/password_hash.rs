//! Password hashes of other systems: what is read has a bounded cost. None is run.

use countersign::{
    crypto::foreign_hash::{ForeignHash, Function, parse_imported},
    domain::{password_hash::Normalization, policy::WeakHashes},
};

const MIB: u64 = 1024 * 1024;

/// Panics if a text that is read would cost too much to verify, or is not read again as it is stored. Whether it was read.
pub fn check(text: &str) -> bool {
    let Ok(hash) = parse_imported(text, Normalization::Typed, WeakHashes::Take) else {
        return false;
    };
    assert!(!format!("{hash:?}").contains('$'));
    let read = ForeignHash::parse(hash.as_str()).expect("what is stored is read");
    assert!(read.cost().len() < 256);
    match read.function {
        Function::Bcrypt(hash) => assert!((4..=14).contains(&hash.cost)),
        Function::Scrypt(hash) => {
            assert_scrypt(hash.params.log_n(), hash.params.r(), hash.params.p());
            assert_length(&hash.expected);
        }
        Function::Firebase(hash) => {
            assert_scrypt(hash.params.log_n(), hash.params.r(), hash.params.p());
            assert_length(&hash.expected);
            assert_eq!(hash.signer_key.len(), hash.expected.len());
        }
        Function::Pbkdf2(hash) => {
            assert!(hash.iterations.get() <= 2_000_000);
            assert_length(&hash.expected);
        }
        Function::Argon2(hash) => {
            let params = hash.function.params();
            assert!(params.m_cost() <= 256 * 1024 && params.t_cost() <= 16 && params.p_cost() <= 8);
            assert!(hash.salt.len() >= 8);
            assert_length(&hash.expected);
        }
        Function::Phpass(hash) => assert!(hash.log2_rounds <= 18),
        Function::ShaCrypt(hash) => assert!((1000..=1_000_000).contains(&hash.rounds)),
        Function::Once(hash) => assert_length(&hash.expected),
        // Of a fixed cost.
        Function::Md5Crypt(_) => {}
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
