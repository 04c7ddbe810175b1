//! Password hashes that other systems made: read, bounded and verified here, never made. Reading checks the form and
//! what a verification may cost, without running it, so that a row which costs more is neither imported nor computed.
//!
//! ```text
//! bcrypt        $2b$12$SALT-AND-HASH (also 2a, 2y), reads 72 bytes of a password and ignores the rest, as its makers did
//! scrypt        $scrypt$ln=17,r=8,p=1$SALT$HASH, Django's scrypt$N$SALT$r$p$HASH
//! PBKDF2        $pbkdf2-sha256$i=600000$SALT$HASH (also -sha512, also passlib's form), Django's pbkdf2_sha256$i$SALT$HASH
//! Firebase      $firebase-scrypt$ln=14,r=8,p=1,ss=SEPARATOR,sk=KEY$SALT$HASH; KEY is the project's signer key, a secret
//!               that is the same in all rows: whoever reads one can test guesses for all of them
//! argon2        as in hash_worker.rs, with a salt and a hash of any length; also argon2i, argon2d and version 0x10
//! ```

mod read;
mod verify;

pub use self::verify::ForeignHash;
use self::{read::FIELD, verify::BCRYPT_READS};
use super::phc;
use crate::{
    domain::{password::Password, password_hash::PasswordHash},
    error::Error,
};

const PEPPERED: &str = "argon2 without keyid: a hash with a pepper cannot be checked here";

/// True if a stored hash is none of those that `hash_worker.rs` makes, by its form. Those are argon2id with 16 bytes of
/// salt and 32 of hash, in base64. Some other systems make the very same.
pub fn is_foreign(text: &str) -> bool {
    match text.split('$').collect::<Vec<_>>()[..] {
        ["", "argon2id", "v=19", _, salt, hash] => (salt.len(), hash.len()) != (22, 43),
        _ => true,
    }
}

/// Takes over a hash that another system made, or this one, in any of the forms above.
///
/// # Errors
/// [`Error::InvalidArgument`] for `password_hash` when it has none of the forms, would cost too much to verify, or has a
/// pepper, which does not come along. The hash is not part of it.
pub fn parse_imported(text: &str) -> Result<PasswordHash, Error> {
    // Django puts a name of its own before the names of argon2 and bcrypt.
    let text = match text.strip_prefix("argon2").or_else(|| text.strip_prefix("bcrypt$")) {
        Some(bare) if bare.starts_with('$') => bare,
        _ => text,
    };
    ForeignHash::parse(text)?;
    let hash = PasswordHash::from_stored(text.to_owned());
    if phc::is_peppered(&hash) { Err(Error::invalid(FIELD, PEPPERED)) } else { Ok(hash) }
}

/// True if a right `password` need not be the whole of the one that was hashed: bcrypt ignores what is beyond its 72
/// bytes. A new hash of it would refuse the password that its owner knows.
pub fn reads_part_of(hash: &PasswordHash, password: &Password) -> bool {
    hash.as_str().starts_with("$2") && password.as_typed().len() >= BCRYPT_READS
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use argon2::{Algorithm, Argon2, Params, Version};
    use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA256};
    use base64::Engine as _;
    use proptest::prelude::*;

    use super::{
        read::{ARGON2_FORM, BCRYPT_FORM, FIREBASE_FORM, PBKDF2_FORM, SCRYPT_FORM, STANDARD},
        *,
    };
    use crate::domain::password_hash::Verdict;

    /// (form, password, hash). The sources: crypt_blowfish's tests, RFC 7914 sections 11 and 12, Django's and passlib's
    /// documentation and tests, RFC 6070, github.com/firebase/scrypt, the argon2 reference.
    const VECTORS: [(&str, &str, &str); 19] = [
        ("bcrypt", "U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
        ("bcrypt", "U*U*", "$2y$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK"),
        ("bcrypt", "correct horse battery staple", "$2b$04$abcdefghijklmnopqrstuu7EJV7kdjBBQxyb0HjTh9KS7.Lah/6CG"),
        (
            "bcrypt of more than 72 bytes",
            "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789chars after 72 are ignored",
            "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui",
        ),
        ("Django's bcrypt", "U*U", "bcrypt$$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
        (
            "scrypt",
            "password",
            "$scrypt$ln=10,r=8,p=16$TmFDbA$/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWIurzDZLiKjiG/xCSedmDDaxyevuUqD7m2DYMvfoswGQA",
        ),
        (
            "scrypt",
            "pleaseletmein",
            "$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofLVQylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw",
        ),
        (
            "Django's scrypt",
            "lètmein",
            "scrypt$16384$seasalt$8$5$ECMIUp+LMxMSK8xB/IVyba+KYGTI7FTnet025q/1f/vBAVnnP3hdYqJuRi+mJn6ji6ze3Fbb7JEFPKGpuEf5vw==",
        ),
        (
            "PBKDF2",
            "passwd",
            "$pbkdf2-sha256$i=1,l=64$c2FsdA$VawEblbjCJ/sFpHCJUS2BflBhSFt3gRl5oudV8INrLxJypzM8Xm2RZkWZLOdd+8xfHG4RbHjC9UJESBB06GXgw",
        ),
        (
            "PBKDF2",
            "Password",
            "$pbkdf2-sha256$i=80000,l=64$TmFDbA$TdzY9guYviGDDO5e8icB+WQaRBjQTAQUrv8Ih2s0q1ah1CWhIlgzVJrbhBtRybMXaicr3ruh0HhHj2Kzl/M8jQ",
        ),
        (
            "PBKDF2 of SHA-512",
            "password",
            "$pbkdf2-sha512$i=4096$c2FsdA$0Zexsz2wFD4BixLz0dFHnmzevcyXxcD4f2kC4HL0V7UUPzBgJkGz1VzTNZiMs2uEN2Bg7NUy4Dm3QqI5Q0ry1Q",
        ),
        (
            "passlib's PBKDF2",
            "password",
            "$pbkdf2-sha256$6400$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M",
        ),
        ("Django's PBKDF2", "lètmein", "pbkdf2_sha256$10000$seasalt$CWWFdHOWwPnki7HvkcqN9iA2T3KLW1cf2uZ5kvArtVY="),
        ("Django's PBKDF2 of SHA-1", "password", "pbkdf2_sha1$4096$salt$SwB5AbdlSJq+rUnZJvch0GWkKcE="),
        (
            "Django's PBKDF2 of SHA-512",
            "password",
            "pbkdf2_sha512$4096$salt$0Zexsz2wFD4BixLz0dFHnmzevcyXxcD4f2kC4HL0V7UUPzBgJkGz1VzTNZiMs2uEN2Bg7NUy4Dm3QqI5Q0ry1Q==",
        ),
        (
            "Firebase",
            "user1password",
            "$firebase-scrypt$ln=14,r=8,p=1,ss=Bw==,sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==",
        ),
        ("argon2i", "password", "$argon2i$v=19$m=256,t=2,p=2$c29tZXNhbHQ$T/XOJ2mh1/TIpJHfCdQan76Q5esCFVoT5MAeIM1Oq2E"),
        (
            "argon2i of version 0x10",
            "password",
            "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY",
        ),
        (
            "Django's argon2",
            "password",
            "argon2$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        ),
    ];

    fn password(text: &str) -> Password {
        Password::parse("password", text).expect("valid")
    }

    fn description(result: Result<PasswordHash, Error>) -> String {
        match result {
            Err(Error::InvalidArgument(violations)) => {
                assert_eq!(violations[0].field, "password_hash");
                violations[0].description.clone()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn known_answers_of_every_form_are_met_by_their_password_alone() {
        for (form, text, hash) in VECTORS {
            let hash = parse_imported(hash).expect(form);
            let hash = ForeignHash::parse(hash.as_str()).expect(form);
            assert_eq!(hash.verify(&password(text)).expect(form), Verdict::Right, "{form}");
            let wrong = password(&format!("x{text}"));
            assert_eq!(hash.verify(&wrong).expect(form), Verdict::Wrong, "{form}");
        }
    }

    #[test]
    fn bcrypt_reads_a_part_of_72_bytes_and_more() {
        let hash = |text| parse_imported(text).expect("read");
        for (length, part) in [(71, false), (72, true), (73, true)] {
            assert_eq!(reads_part_of(&hash(VECTORS[0].2), &password(&"x".repeat(length))), part, "{length}");
        }
        assert!(!reads_part_of(&hash(VECTORS[5].2), &password(&"x".repeat(73))));
    }

    #[test]
    fn argon2_of_another_form_than_ours_is_foreign() {
        let unpadded = base64::engine::general_purpose::STANDARD_NO_PAD;
        let text = |function: &str, salt: usize, hash: usize| {
            format!("${function}$m=8,t=1,p=1${}${}", unpadded.encode(vec![1; salt]), unpadded.encode(vec![2; hash]))
        };
        assert!(!is_foreign(&text("argon2id$v=19", 16, 32)));
        for (function, salt, hash) in [
            ("argon2id$v=19", 16, 16),
            // Django's salts.
            ("argon2id$v=19", 22, 32),
            ("argon2id$v=16", 16, 32),
            ("argon2id", 16, 32),
            ("argon2i$v=19", 16, 32),
            ("argon2d$v=19", 16, 32),
        ] {
            let text = text(function, salt, hash);
            assert!(is_foreign(&text), "{text}");
            assert!(ForeignHash::parse(&text).is_ok(), "{text}");
        }
    }

    /// Other systems do not normalise: what was typed there is what they hashed.
    #[test]
    fn a_password_is_checked_as_it_was_typed() {
        let mut expected = [0; 32];
        pbkdf2::derive(
            PBKDF2_HMAC_SHA256,
            NonZeroU32::MIN,
            b"salt",
            "cafe\u{301} \u{fb01}ne".as_bytes(),
            &mut expected,
        );
        let pbkdf2 = format!("pbkdf2_sha256$1$salt${}", STANDARD.encode(expected));
        let cheap = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).expect("parameters"));
        cheap.hash_password_into("cafe\u{301} \u{fb01}ne".as_bytes(), b"somesalt", &mut expected).expect("hashed");
        let argon2 =
            format!("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ${}", STANDARD.encode(expected).trim_end_matches('='));
        for text in [pbkdf2, argon2] {
            assert!(is_foreign(&text));
            let hash = ForeignHash::parse(&text).expect("read");
            assert_eq!(hash.verify(&password("cafe\u{301} \u{fb01}ne")).expect("checked"), Verdict::Right);
            assert_eq!(hash.verify(&password("caf\u{e9} fine")).expect("checked"), Verdict::Wrong);
        }
    }

    #[test]
    fn r50_a_hash_that_costs_too_much_is_refused_without_being_run() {
        let (hash, key) = ("A".repeat(43), "A".repeat(43));
        let bcrypt = "CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        for (dear, form) in [
            (format!("$2b$15${bcrypt}"), BCRYPT_FORM),
            (format!("$2b$31${bcrypt}"), BCRYPT_FORM),
            (format!("$2b$03${bcrypt}"), BCRYPT_FORM),
            (format!("$scrypt$ln=19,r=8,p=1$c2FsdA${hash}"), SCRYPT_FORM),
            (format!("$scrypt$ln=18,r=8,p=2$c2FsdA${hash}"), SCRYPT_FORM),
            (format!("$scrypt$ln=63,r=4294967295,p=4294967295$c2FsdA${hash}"), SCRYPT_FORM),
            (format!("$scrypt$ln=1,r=1,p=4294967295$c2FsdA${hash}"), SCRYPT_FORM),
            (format!("scrypt$524288$salt$8$1${hash}"), SCRYPT_FORM),
            (format!("$firebase-scrypt$ln=19,r=8,p=1,ss=Bw,sk={key}$c2FsdA${hash}"), FIREBASE_FORM),
            (format!("$pbkdf2-sha256$i=2000001$c2FsdA${hash}"), PBKDF2_FORM),
            (format!("$pbkdf2-sha256$i=1000001$c2FsdA${}", "A".repeat(44)), PBKDF2_FORM),
            (format!("pbkdf2_sha256$4294967295$salt${hash}"), PBKDF2_FORM),
            (format!("$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ${hash}"), ARGON2_FORM),
            (format!("$argon2id$v=19$m=19456,t=4000000,p=1$c29tZXNhbHQ${hash}"), ARGON2_FORM),
        ] {
            assert_eq!(description(parse_imported(&dear)), form, "{dear}");
        }
        for bearable in [
            format!("$2b$14${bcrypt}"),
            format!("$scrypt$ln=18,r=8,p=1$c2FsdA${hash}"),
            format!("$firebase-scrypt$ln=18,r=8,p=1,ss=Bw,sk={key}$c2FsdA${hash}"),
            format!("pbkdf2_sha256$2000000$salt${hash}"),
        ] {
            assert!(parse_imported(&bearable).is_ok(), "{bearable}");
        }
    }

    /// A hash with a pepper is of no use without that pepper.
    #[test]
    fn a_hash_with_a_pepper_is_not_imported() {
        let hash = "c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        for (params, says) in [
            ("m=256,t=2,p=1,keyid=AAECAwQFBgc", PEPPERED),
            ("m=256,t=2,p=1,keyid=AAEC", PEPPERED),
            ("m=256,t=2,p=1,keyid=AAECAwQFBgcICQ", ARGON2_FORM),
            ("m=256,t=2,p=1,keyid=AAECAwQFBgc=", ARGON2_FORM),
            ("m=256,t=2,p=1,pepper=AAEC", ARGON2_FORM),
        ] {
            let text = format!("$argon2id$v=19${params}${hash}");
            assert_eq!(description(parse_imported(&text)), says, "{params}");
        }
    }

    #[test]
    fn what_is_no_hash_is_refused_and_never_printed() {
        for bad in [
            "",
            "$",
            "hunter2-in-clear",
            "5f4dcc3b5aa765d61d8327deb882cf99",
            "$1$salt$qJH7.N4xYta3aEG/dfqo/0",
            "$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "$2b$5$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOe",
            "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOe=",
            "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyO\u{e9}",
            "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyO\0W",
            "$scrypt$ln=0,r=8,p=1$c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAA",
            "$scrypt$ln=10,r=0,p=1$c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAA",
            "$scrypt$r=8,ln=10,p=1$c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAA",
            "$scrypt$ln=10,r=8,p=1$c2FsdA$AAAA",
            "scrypt$1000$salt$8$1$AAAAAAAAAAAAAAAAAAAAAAAA",
            "$firebase-scrypt$ln=14,r=8,p=1,ss=Bw==,sk=AAAA$c2FsdA==$AAAAAAAAAAAAAAAAAAAAAAAA",
            "$pbkdf2-sha256$i=0$c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAA",
            "$pbkdf2-sha256$i=1,l=32$c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAA",
            "$pbkdf2-md5$i=1$c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAA",
            "pbkdf2_sha256$1$salt$not base64",
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=19456,t=2,p=1",
            &format!("pbkdf2_sha256$1${}$AAAAAAAAAAAAAAAAAAAAAAAA", "s".repeat(1024)),
        ] {
            let error = description(parse_imported(bad));
            assert!(bad.len() < 9 || !error.contains(bad), "{bad}");
        }
        let hash = ForeignHash::parse(VECTORS[15].2).expect("read");
        assert_eq!(format!("{hash:?}"), "ForeignHash(..)");
    }

    proptest! {
        #[test]
        fn an_altered_hash_is_read_or_refused(
            which in 0..VECTORS.len(),
            at in any::<prop::sample::Index>(),
            part in "[$a-z0-9=,./\\PC]{0,4}",
        ) {
            let text = VECTORS[which].2;
            let (before, after) = text.split_at(at.index(text.len()));
            for altered in [format!("{before}{part}{after}"), format!("{before}{part}{}", &after[1..]), before.to_owned()] {
                if let Ok(hash) = parse_imported(&altered) {
                    prop_assert!(ForeignHash::parse(hash.as_str()).is_ok());
                }
            }
        }
    }
}
