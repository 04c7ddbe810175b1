//! Password hashes that other systems made: read, bounded and verified here, never made. Reading checks the form and
//! what a verification may cost, without running it, so that a row which costs more is neither imported nor computed.
//! The forms are a table in the proto, with `ImportedUser`; each is read in the file of its function.
//!
//! Other systems hash a password as it is typed, and this one after NFKC. A stored hash says which by its form, or by a
//! marker before it: `typed:` where it looks like ours, `nfkc:` where another system normalises.

mod argon2;
mod bcrypt;
mod crypt;
mod digests;
mod once;
mod parts;
mod pbkdf2;
mod phpass;
mod scrypt;
#[cfg(test)]
pub(crate) mod vectors;

use std::fmt;

use zeroize::Zeroizing;

pub use self::{
    argon2::Argon2Hash,
    bcrypt::Bcrypt,
    crypt::{Md5Crypt, ShaCrypt},
    once::Once,
    pbkdf2::Pbkdf2,
    phpass::Phpass,
    scrypt::{Firebase, Scrypt},
};
use super::phc;
use crate::{
    domain::{
        password::Password,
        password_hash::{Normalization, PasswordHash, Verdict},
        policy::WeakHashes,
    },
    error::Error,
};

/// The field of a request that a hash comes in.
const FIELD: &str = "password_hash";
const MAX_TEXT: usize = 1024;
const TYPED: &str = "typed:";
const NFKC: &str = "nfkc:";

const UNKNOWN: &str = "a hash in one of the forms that are documented with ImportedUser";
const PEPPERED: &str = "argon2 without keyid: a hash with a pepper cannot be checked here";
const WEAK_HASH: &str =
    "not below 1000 rounds of a digest, nor md5-crypt: such weak hashes are taken with import-weak-hashes alone";

/// A hash that was read and may be verified. Never printed.
pub struct ForeignHash {
    /// The function with its parameters.
    pub function: Function,
    normalization: Normalization,
}

/// The function of a hash.
pub enum Function {
    /// bcrypt, perhaps of a digest.
    Bcrypt(Bcrypt),
    /// Scrypt (RFC 7914).
    Scrypt(Scrypt),
    /// Firebase's scrypt.
    Firebase(Firebase),
    /// PBKDF2 (RFC 8018).
    Pbkdf2(Pbkdf2),
    /// Argon2 (RFC 9106).
    Argon2(Argon2Hash),
    /// phpass and Drupal 7.
    Phpass(Phpass),
    /// SHA-crypt.
    ShaCrypt(ShaCrypt),
    /// md5-crypt, which is weak.
    Md5Crypt(Md5Crypt),
    /// One round of a digest, which is weak.
    Once(Once),
}

/// True if a stored hash is none of those that `hash_worker.rs` makes, by its form. Those are argon2id with 16 bytes of
/// salt and 32 of hash, in base64, without a marker.
pub fn is_foreign(text: &str) -> bool {
    match text.split('$').collect::<Vec<_>>()[..] {
        ["", "argon2id", "v=19", _, salt, hash] => (salt.len(), hash.len()) != (22, 43),
        _ => true,
    }
}

/// Takes over a hash that another system made, or this one, in any of the forms. The password that it was made of went
/// through `normalization`.
///
/// # Errors
/// [`Error::InvalidArgument`] for `password_hash` when it has none of the forms or would cost too much to verify. Also when it
/// is weak and those are refused, or has a pepper, which does not come along. The hash is not part of it.
pub fn parse_imported(text: &str, normalization: Normalization, weak: WeakHashes) -> Result<PasswordHash, Error> {
    let bare = unwrapped(text);
    let function = read(bare).map_err(|form| Error::invalid(FIELD, form))?;
    if function.is_weak() && weak == WeakHashes::Refuse {
        return Err(Error::invalid(FIELD, WEAK_HASH));
    }
    if phc::is_peppered(&PasswordHash::from_stored(bare.to_owned())) {
        return Err(Error::invalid(FIELD, PEPPERED));
    }
    let marker = match (normalization, is_foreign(bare)) {
        (Normalization::Typed, false) => TYPED,
        (Normalization::Nfkc, true) => NFKC,
        _ => "",
    };
    Ok(PasswordHash::from_stored([marker, bare].concat()))
}

/// The text and the normalization from which `parse_imported` makes a stored hash again.
pub fn exported(hash: PasswordHash) -> (Zeroizing<String>, Normalization) {
    let text = Zeroizing::new(hash.into_string());
    let (bare, normalization) = unmarked(&text);
    (Zeroizing::new(bare.to_owned()), normalization)
}

/// True if a right `password` need not be the whole of the one that was hashed: bcrypt ignores what is beyond its 72
/// bytes. A new hash of it would refuse the password that its owner knows.
pub fn reads_part_of(hash: &PasswordHash, password: &Password) -> bool {
    let read = ForeignHash::parse(hash.as_str());
    read.is_ok_and(|read| match &read.function {
        Function::Bcrypt(bcrypt) => bcrypt.reads_part_of(read.normalization.of(password)),
        _ => false,
    })
}

/// Cuts off the name that Django, LDAP servers and Spring put before hashes that name their function again.
fn unwrapped(text: &str) -> &str {
    let bare = match parts::scheme(text) {
        Some((name, rest)) => {
            let known = ["crypt", "bcrypt", "argon2", "argon2@springsecurity_v5_8"].contains(&name.as_str());
            Some(rest).filter(|_| known)
        }
        None => text.strip_prefix("argon2").or_else(|| text.strip_prefix("bcrypt$")),
    };
    bare.filter(|bare| bare.starts_with('$')).unwrap_or(text)
}

/// A stored hash without its marker, and whether its password is normalised.
fn unmarked(text: &str) -> (&str, Normalization) {
    match (text.strip_prefix(TYPED), text.strip_prefix(NFKC)) {
        (Some(bare), _) => (bare, Normalization::Typed),
        (_, Some(bare)) => (bare, Normalization::Nfkc),
        _ => (text, if is_foreign(text) { Normalization::Typed } else { Normalization::Nfkc }),
    }
}

/// The hash, if it can be read and verified at a bearable cost; or which form was expected.
fn read(text: &str) -> Result<Function, &'static str> {
    if text.len() > MAX_TEXT || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(UNKNOWN);
    }
    let readers: [fn(&str) -> parts::Read<Function>; 9] = [
        |text| bcrypt::read(text).map(|read| read.map(Function::Bcrypt)),
        |text| scrypt::read(text).map(|read| read.map(Function::Scrypt)),
        |text| scrypt::read_firebase(text).map(|read| read.map(Function::Firebase)),
        // Before ASP.NET's, which have no mark but the letters that they begin with.
        |text| once::read(text).map(|read| read.map(Function::Once)),
        |text| pbkdf2::read(text).map(|read| read.map(Function::Pbkdf2)),
        |text| argon2::read(text).map(|read| read.map(Function::Argon2)),
        |text| phpass::read(text).map(|read| read.map(Function::Phpass)),
        |text| crypt::read(text).map(|read| read.map(Function::ShaCrypt)),
        |text| crypt::read_md5(text).map(|read| read.map(Function::Md5Crypt)),
    ];
    readers.into_iter().find_map(|reader| reader(text)).unwrap_or(Err(UNKNOWN))
}

impl Function {
    /// True if guessing is cheap, by the function or by its parameters.
    fn is_weak(&self) -> bool {
        match self {
            Self::Md5Crypt(_) | Self::Once(_) => true,
            Self::Pbkdf2(hash) => hash.is_weak(),
            Self::Phpass(hash) => hash.is_weak(),
            _ => false,
        }
    }
}

impl ForeignHash {
    /// Reads a stored hash, and refuses one that would cost too much to verify.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for `password_hash`. The hash is not part of it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (bare, normalization) = unmarked(text);
        let function = read(bare).map_err(|form| Error::invalid(FIELD, form))?;
        let normal = matches!(&function, Function::Scrypt(scrypt) if scrypt.normal);
        Ok(Self { function, normalization: if normal { Normalization::Nfkc } else { normalization } })
    }

    /// Compares the hash with `password`, as it was typed unless the hash says otherwise.
    ///
    /// # Errors
    /// [`Error::Internal`] when a library refuses what was read.
    pub fn verify(&self, password: &Password) -> Result<Verdict, Error> {
        let password = self.normalization.of(password);
        let right = match &self.function {
            Function::Bcrypt(hash) => hash.matches(password),
            Function::Scrypt(hash) => hash.matches(password)?,
            Function::Firebase(hash) => hash.matches(password)?,
            Function::Pbkdf2(hash) => hash.matches(password),
            Function::Argon2(hash) => hash.matches(password)?,
            Function::Phpass(hash) => hash.matches(password),
            Function::ShaCrypt(hash) => hash.matches(password),
            Function::Md5Crypt(hash) => hash.matches(password),
            Function::Once(hash) => hash.matches(password),
        };
        Ok(if right { Verdict::Right } else { Verdict::Wrong })
    }

    /// The function and the parameters that decide what a verification costs, as text. Two hashes of one text cost the same.
    pub fn cost(&self) -> String {
        match &self.function {
            Function::Bcrypt(hash) => format!("bcrypt {}", hash.cost),
            Function::Scrypt(hash) => format!("scrypt {}", scrypt::cost(&hash.params)),
            Function::Firebase(hash) => format!("firebase-scrypt {}", scrypt::cost(&hash.params)),
            Function::Pbkdf2(hash) => format!("pbkdf2 {}", hash.cost()),
            Function::Argon2(hash) => hash.cost().to_owned(),
            Function::Phpass(hash) => format!("phpass {}", hash.cost()),
            Function::ShaCrypt(hash) => format!("sha-crypt {}", hash.cost()),
            Function::Md5Crypt(hash) => format!("md5-crypt {}", hash.cost()),
            Function::Once(hash) => format!("digest {}", hash.cost()),
        }
    }
}

/// Names a type, and never what is in it.
macro_rules! never_printed {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}

never_printed!(ForeignHash, Function, Bcrypt, Scrypt, Firebase, Pbkdf2, Argon2Hash, Phpass, ShaCrypt, Md5Crypt, Once);

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, num::NonZeroU32};

    use ::argon2::{Algorithm, Argon2, Params, Version};
    use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA256};
    use base64::Engine as _;
    use proptest::prelude::*;

    use super::{parts::STANDARD, vectors::Vector, *};

    const BCRYPT: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

    fn imported(text: &str) -> Result<PasswordHash, Error> {
        parse_imported(text, Normalization::Typed, WeakHashes::Refuse)
    }

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
        for Vector { source, password: text, hash, .. } in vectors::all() {
            let stored = parse_imported(&hash, Normalization::Typed, WeakHashes::Take).expect(&hash);
            let read = ForeignHash::parse(stored.as_str()).expect(&hash);
            assert_eq!(read.verify(&password(&text)).expect(&hash), Verdict::Right, "{hash} of {source}");
            let wrong = password(&format!("x{text}"));
            assert_eq!(read.verify(&wrong).expect(&hash), Verdict::Wrong, "{hash} of {source}");
        }
    }

    /// The table is what people read before they import.
    #[test]
    fn every_form_of_the_documented_table_has_a_known_answer() {
        let proto = include_str!("../../../proto/countersign/v1/user.proto");
        let comment =
            proto.split("message ImportedUser {").nth(1).and_then(|rest| rest.split("string password_hash").next());
        let rows = comment.expect("a comment").lines().filter_map(|line| line.trim_start().strip_prefix("//   "));
        let forms = rows.filter(|row| !row.starts_with(' ')).filter_map(|row| row.split_whitespace().next());
        let forms: BTreeSet<String> = forms.map(str::to_owned).collect();
        let known: BTreeSet<String> = vectors::all().into_iter().map(|vector| vector.form).collect();
        assert_eq!(forms, known);
    }

    #[test]
    fn weak_hashes_alone_are_refused_where_they_are_not_to_be_taken() {
        for Vector { hash, weak, .. } in vectors::all() {
            match imported(&hash) {
                Ok(_) => assert!(!weak, "{hash}"),
                refused => assert!(weak && description(refused) == WEAK_HASH, "{hash}"),
            }
        }
    }

    #[test]
    fn a_form_that_is_strong_is_weak_with_few_rounds() {
        let (hash, hex) = ("A".repeat(43), "a".repeat(64));
        for (weak, strong) in [
            (format!("pbkdf2_sha256$999$salt${hash}"), format!("pbkdf2_sha256$1000$salt${hash}")),
            (format!("pbkdf2:sha1:1$salt${hex}"), format!("pbkdf2:sha1:1000$salt${hex}")),
            (format!("$P$7saltsalt{}", &hash[..22]), format!("$P$8saltsalt{}", &hash[..22])),
            (format!("$S$7saltsalt{hash}"), format!("U$S$8saltsalt{hash}")),
        ] {
            assert_eq!(description(imported(&weak)), WEAK_HASH, "{weak}");
            assert!(imported(&strong).is_ok(), "{strong}");
        }
    }

    #[test]
    fn bcrypt_reads_a_part_of_72_bytes_and_more_unless_it_is_of_a_digest() {
        let long = password(&"x".repeat(72));
        assert!(!reads_part_of(&imported(BCRYPT).expect("read"), &password(&"x".repeat(71))));
        for Vector { hash, .. } in vectors::all().into_iter().filter(|vector| !vector.weak) {
            let part = ["$2", "bcrypt$$2", "{bcrypt}$2", "{CRYPT}$2"].iter().any(|begin| hash.starts_with(begin));
            assert_eq!(reads_part_of(&imported(&hash).expect("read"), &long), part, "{hash}");
        }
    }

    /// PHP, Laravel, argon2-cffi and Kratos make the form of this service, and do not normalise.
    #[test]
    fn a_hash_that_looks_like_ours_is_checked_as_typed_unless_the_import_says_that_it_is_normalised() {
        let typed = "\u{fb01}anc\u{e9}\u{2460}";
        let checked = |hash: &str, normalization, text| {
            let stored = parse_imported(hash, normalization, WeakHashes::Refuse).expect("read");
            assert!(is_foreign(stored.as_str()) || normalization == Normalization::Nfkc);
            let (exported, said) = exported(stored.clone());
            assert_eq!((exported.as_str(), said), (hash, normalization), "an export says the same");
            ForeignHash::parse(stored.as_str()).expect("read").verify(&password(text)).expect("checked")
        };
        let like_ours = |vector: &Vector| vector.password == typed && vector.hash.starts_with("$argon2id");
        for Vector { hash, .. } in vectors::all().into_iter().filter(like_ours) {
            assert!(!is_foreign(&hash), "{hash}");
            assert_eq!(checked(&hash, Normalization::Typed, typed), Verdict::Right);
            assert_eq!(checked(&hash, Normalization::Typed, "fianc\u{e9}1"), Verdict::Wrong);
            assert_eq!(checked(&hash, Normalization::Nfkc, typed), Verdict::Wrong, "it is not of this service");
        }
        let sha256 = |text: &str| {
            let mut output = [0; 32];
            let rounds = NonZeroU32::new(1000).expect("some");
            pbkdf2::derive(PBKDF2_HMAC_SHA256, rounds, b"salt", text.as_bytes(), &mut output);
            format!("pbkdf2_sha256$1000$salt${}", STANDARD.encode(output))
        };
        let normalised = sha256("fianc\u{e9}1");
        assert_eq!(checked(&normalised, Normalization::Nfkc, typed), Verdict::Right);
        assert_eq!(checked(&normalised, Normalization::Typed, typed), Verdict::Wrong);
    }

    #[test]
    fn a_marker_is_for_what_is_stored_and_no_part_of_a_form() {
        for marker in [TYPED, NFKC] {
            assert_eq!(description(imported(&[marker, BCRYPT].concat())), UNKNOWN);
            assert!(ForeignHash::parse(&[marker, BCRYPT].concat()).is_ok());
        }
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
        let (hash, key, hex) = ("A".repeat(43), "A".repeat(43), "a".repeat(64));
        let aspnet = |iterations: u32| {
            let head = [1, iterations, 16].map(u32::to_be_bytes).concat();
            STANDARD.encode([&[1][..], &head, &[7; 48]].concat())
        };
        let bcrypt = "CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        for (dear, form) in [
            (format!("$2b$15${bcrypt}"), super::bcrypt::FORM),
            (format!("$2b$31${bcrypt}"), super::bcrypt::FORM),
            (format!("$2b$03${bcrypt}"), super::bcrypt::FORM),
            (format!("$scrypt$ln=19,r=8,p=1$c2FsdA${hash}"), super::scrypt::FORM),
            (format!("$scrypt$ln=18,r=8,p=2$c2FsdA${hash}"), super::scrypt::FORM),
            (format!("$scrypt$ln=63,r=4294967295,p=4294967295$c2FsdA${hash}"), super::scrypt::FORM),
            (format!("$scrypt$ln=1,r=1,p=4294967295$c2FsdA${hash}"), super::scrypt::FORM),
            (format!("scrypt$524288$salt$8$1${hash}"), super::scrypt::FORM),
            (format!("$firebase-scrypt$ln=19,r=8,p=1,ss=Bw,sk={key}$c2FsdA${hash}"), super::scrypt::FIREBASE_FORM),
            (format!("$pbkdf2-sha256$i=2000001$c2FsdA${hash}"), super::pbkdf2::FORM),
            (format!("pbkdf2:sha256:2000001$salt${hex}"), super::pbkdf2::FORM),
            (format!("{{PBKDF2-SHA256}}2000001$c2FsdA${hash}"), super::pbkdf2::FORM),
            (aspnet(2_000_001), super::pbkdf2::FORM),
            (format!("$scrypt$ln=524288,r=8,p=1$c2FsdA${hash}"), super::scrypt::FORM),
            (format!("scrypt:524288:8:1$salt${hex}"), super::scrypt::FORM),
            (format!("{{scrypt}}$130801$c2FsdA${hash}"), super::scrypt::FORM),
            (format!("bcrypt_sha256$$2b$15${bcrypt}"), super::bcrypt::FORM),
            (format!("$wp$2y$15${bcrypt}"), super::bcrypt::FORM),
            (
                "$bcrypt-sha256$v=2,t=2b,r=15$6.8TaOU3GeVCIIqoaZqGZu$rRiIGrjmNiPJ1S76IsW.0vCWKgN4zXS".into(),
                super::bcrypt::FORM,
            ),
            (format!("$5$rounds=1000001$salt${hash}"), crypt::FORM),
            (format!("$6$rounds=999$salt${hash}{hash}"), crypt::FORM),
            ("$P$HsaltsaltAAAAAAAAAAAAAAAAAAAAAA".to_owned(), phpass::FORM),
            (format!("$S$Hsaltsalt{hash}"), phpass::FORM),
            ("$P$4saltsaltAAAAAAAAAAAAAAAAAAAAAA".to_owned(), phpass::FORM),
            (format!("$S$4saltsalt{hash}"), phpass::FORM),
            (format!("pbkdf2_sha256$4294967295$salt${hash}"), super::pbkdf2::FORM),
            (format!("$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ${hash}"), super::argon2::FORM),
            (format!("$argon2id$v=19$m=19456,t=4000000,p=1$c29tZXNhbHQ${hash}"), super::argon2::FORM),
        ] {
            assert_eq!(description(imported(&dear)), form, "{dear}");
        }
        for bearable in [
            format!("$2b$14${bcrypt}"),
            format!("$scrypt$ln=18,r=8,p=1$c2FsdA${hash}"),
            format!("$firebase-scrypt$ln=18,r=8,p=1,ss=Bw,sk={key}$c2FsdA${hash}"),
            format!("pbkdf2_sha256$2000000$salt${hash}"),
            format!("$pbkdf2-sha1$i=1300000,l=64$c2FsdA${hash}{hash}"),
            aspnet(2_000_000),
            format!("$5$rounds=1000000$salt${hash}"),
            format!("$6$salt${hash}{hash}"),
            format!("$S$Gsaltsalt{hash}"),
        ] {
            assert!(imported(&bearable).is_ok(), "{bearable}");
        }
    }

    /// A hash with a pepper is of no use without that pepper.
    #[test]
    fn a_hash_with_a_pepper_is_not_imported() {
        let hash = "c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        for (params, says) in [
            ("m=256,t=2,p=1,keyid=AAECAwQFBgc", PEPPERED),
            ("m=256,t=2,p=1,keyid=AAEC", PEPPERED),
            ("m=256,t=2,p=1,keyid=AAECAwQFBgcICQ", super::argon2::FORM),
            ("m=256,t=2,p=1,keyid=AAECAwQFBgc=", super::argon2::FORM),
            ("m=256,t=2,p=1,pepper=AAEC", super::argon2::FORM),
        ] {
            for before in ["", "argon2", "{ARGON2}", "{argon2@SpringSecurity_v5_8}"] {
                let text = format!("{before}$argon2id$v=19${params}${hash}");
                assert_eq!(description(imported(&text)), says, "{text}");
            }
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
            "pbkdf2:sha256$salt$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "{noop}password",
            "{CRYPT}abJnggxhB/yWI",
            "{CRYPT}{SSHA}JFZFs0oHzxbMwkSJmYVeI8MnTDy/276a",
            "{pbkdf2}5d923b44a6d129f3ddf3e3c8d29412723dcbde72445e8ef6bf3b508fbf17fa4ed4d6b99ca763d8",
            "{SHA}JFZFs0oHzxbMwkSJmYVeI8MnTDy/276a",
            "{SSHA}bROMo65UVjGzq9caTwds51nFcAs=",
            "$sha1$pf=e1BBU1NXT1JEfQ==$NW9wbWtnejAzcg==$YTk0YThmZTVjY2IxOWJhNjFjNGMwODczZDM5MWU5ODc5ODJmYmJkMw==",
            "$sha1$pf=e1NBTFR9$NW9wbWtnejAzcg==$2qU2SGWP8viTM1md3FiI3+rjWXQ=",
            "$sha1$pf=$NW9wbWtnejAzcg==$2qU2SGWP8viTM1md3FiI3+rjWXQ=",
            "AQAAAAMAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==",
            "AQAAAAEAACcQAAAA/wABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==",
            "AQA=",
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=19456,t=2,p=1",
            &format!("pbkdf2_sha256$1${}$AAAAAAAAAAAAAAAAAAAAAAAA", "s".repeat(1024)),
        ] {
            let error = description(imported(bad));
            assert!(bad.len() < 9 || !error.contains(bad), "{bad}");
        }
        let hash = ForeignHash::parse(BCRYPT).expect("read");
        assert_eq!(format!("{hash:?}"), "ForeignHash(..)");
    }

    proptest! {
        #[test]
        fn an_altered_hash_is_read_or_refused(
            which in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
            part in "[$a-z0-9=,./\\PC]{0,4}",
        ) {
            let vectors = vectors::all();
            let text = &which.get(&vectors).hash;
            let (before, after) = text.split_at(at.index(text.len()));
            for altered in [format!("{before}{part}{after}"), format!("{before}{part}{}", &after[1..]), before.to_owned()] {
                if let Ok(hash) = parse_imported(&altered, Normalization::Typed, WeakHashes::Take) {
                    prop_assert!(ForeignHash::parse(hash.as_str()).is_ok());
                }
            }
        }
    }
}
