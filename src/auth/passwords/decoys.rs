//! Hashes that a password is checked against when there is no such user (promise P6). Hashes of several kinds may be
//! stored, each of its own cost: those of another system, those of an earlier policy. So an unknown name is given a
//! kind too, as often as the users have it, and each time the same one. Nobody can tell which without the service's
//! secret (`auth/keys/decoys.rs`), which outlives every key. Until the users' hashes have been looked at, no password is.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    crypto::{
        digest::sha256_of_parts,
        foreign_hash::{ForeignHash, is_foreign},
    },
    domain::{password_hash::PasswordHash, user::Username},
    error::Error,
};

/// Hashes that stand in for those of users that do not exist; None before the first look.
#[derive(Debug, Default)]
pub(super) struct Decoys(RwLock<Option<Arc<Mix>>>);

/// The kinds of hashes that are stored.
struct Mix {
    /// The kinds in the order of their names.
    kinds: Vec<Kind>,
    secret: [u8; 32],
}

/// A kind of hash that users have.
struct Kind {
    parameters: String,
    /// One of them.
    hash: PasswordHash,
    /// The number of users who have it.
    count: u32,
}

impl Decoys {
    /// The hash that stands in for that of an unknown name. None: one of today's cost.
    pub(super) fn of(&self, name: &Username) -> Option<PasswordHash> {
        self.mix()?.choose(name).cloned()
    }

    /// Passes once it is known which kinds the users have.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`]: a decoy of today would be another one later, which the users' hashes are not.
    pub(super) fn check_known(&self) -> Result<(), Error> {
        let unknown = || Error::DatabaseUnavailable("the kinds of password hashes are not known yet".into());
        self.mix().map(drop).ok_or_else(unknown)
    }

    /// The secret that names are given their kinds by.
    pub(super) fn secret(&self) -> Option<[u8; 32]> {
        self.mix().map(|mix| mix.secret)
    }

    /// Takes over the kinds of these hashes. `secret` is the service's. Without hashes the kinds stay: there are no users,
    /// or the sample has missed them.
    pub(super) fn set(&self, hashes: Vec<PasswordHash>, secret: [u8; 32]) {
        let fresh = Mix::new(hashes, secret);
        let mut mix = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if mix.is_none() || !fresh.kinds.is_empty() {
            *mix = Some(Arc::new(fresh));
        }
    }

    fn mix(&self) -> Option<Arc<Mix>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Mix {
    fn new(hashes: Vec<PasswordHash>, secret: [u8; 32]) -> Self {
        let mut kinds: BTreeMap<(bool, String), (PasswordHash, u32)> = BTreeMap::new();
        for hash in hashes {
            // One that is damaged or costs too much is never run. One whose pepper cannot be used here is: its answer is then
            // that of the users who have it.
            if ForeignHash::parse(hash.as_str()).is_ok() {
                kinds.entry(kind(hash.as_str())).or_insert_with(|| (hash, 0)).1 += 1;
            }
        }
        let kinds = kinds.into_iter().map(|((_, parameters), (hash, count))| Kind { parameters, hash, count });
        Self { kinds: kinds.collect(), secret }
    }

    /// Chooses by a draw of each kind that is the name's own, weighted by the users who have it (weighted rendezvous
    /// hashing). When users move from old kinds to today's, names do the same: none moves to a kind that did not grow.
    fn choose(&self, name: &Username) -> Option<&PasswordHash> {
        let wait = |kind: &Kind| {
            let parts = [b"decoy", &self.secret[..], name.as_str().as_bytes(), kind.parameters.as_bytes()];
            let [a, b, c, d, ..] = sha256_of_parts(&parts);
            let draw = (f64::from(u32::from_be_bytes([a, b, c, d])) + 0.5) / f64::from(u32::MAX);
            -draw.ln() / f64::from(kind.count)
        };
        let chosen = self.kinds.iter().min_by(|one, other| wait(one).total_cmp(&wait(other)));
        chosen.map(|kind| &kind.hash)
    }
}

impl fmt::Debug for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mix(..)")
    }
}

/// The parts of a stored hash that decide its cost: whether the threads' own memory serves for it, and its parameters.
fn kind(hash: &str) -> (bool, String) {
    (is_foreign(hash), parameters(hash))
}

/// The function and the parameters of a hash.
fn parameters(hash: &str) -> String {
    ForeignHash::parse(hash).map_or_else(|_| hash.to_owned(), |read| read.cost())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::foreign_hash::{
            parse_imported,
            vectors::{self, Vector},
        },
        domain::{password_hash::Normalization, policy::WeakHashes},
    };

    const ARGON2: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    const BCRYPT: &str = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW";
    const DJANGO: &str = "pbkdf2_sha256$600000$salt$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g=";

    #[test]
    fn the_kind_of_a_hash_is_what_decides_its_cost() {
        for (hash, expected) in [
            (ARGON2, "argon2id 19 m=19456,t=2,p=1"),
            (BCRYPT, "bcrypt 12"),
            (DJANGO, "pbkdf2 sha256 600000"),
            ("$2a$12$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "bcrypt 12"),
            ("$wp$2y$12$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "bcrypt 12"),
            ("scrypt$16384$salt$8$1$aGFzaGhhc2hoYXNoaGFzaA==", "scrypt 14 8 1"),
            ("$S$5TOxWPdvJRs0P/xZBdrrPlGgzViOS0drHu3jaIjitesfttrp18bk", "phpass sha512 7"),
            ("U$S$5vNHDQyLqCTvsYBLWBUWXJWhA0m3DTpBh04acFEOGB.bKBclhKgo", "phpass sha512 7 of md5"),
            ("$5$rounds=1000$saltstring$Km08H85XPP64cNB7MIYBbfh.2TZRH6icvHsPRlLVecC", "sha-crypt sha256 1000 10"),
            ("$1$saltsalt$dReGpJJU8600y5nMM.mFy0", "md5-crypt 8"),
            ("damaged", "damaged"),
        ] {
            assert_eq!(parameters(hash), expected);
        }
        let ours = format!("$argon2id$v=19$m=19456,t=2,p=1${}${}", "A".repeat(22), "A".repeat(43));
        assert_ne!(kind(&ours), kind(ARGON2));
        assert_eq!(kind(&format!("typed:{ours}")), kind(ARGON2));
    }

    /// Were a salt or a hash part of a kind, each user would have one of their own.
    #[test]
    fn p6_the_kind_of_every_form_that_is_imported_leaves_out_salt_and_hash() {
        for Vector { hash, .. } in vectors::all() {
            let stored = parse_imported(&hash, Normalization::Typed, WeakHashes::Take).expect(&hash);
            let parameters = parameters(stored.as_str());
            assert!(ForeignHash::parse(stored.as_str()).is_ok() && parameters.len() < 48, "{parameters}");
            assert!(!parameters.contains(&hash[hash.len() - 8..]), "{hash}: {parameters}");
        }
    }

    #[test]
    fn p6_unknown_names_have_each_kind_as_often_as_the_users_and_always_the_same() {
        let hashes = |counts: [usize; 3]| {
            let all = [ARGON2, BCRYPT, DJANGO].into_iter().zip(counts);
            all.flat_map(|(hash, count)| vec![PasswordHash::from_stored(hash.to_owned()); count]).collect::<Vec<_>>()
        };
        let names: Vec<Username> =
            (0..10_000).map(|n| Username::parse(&format!("nobody{n}")).expect("a name")).collect();
        let mix = Mix::new(hashes([50, 30, 20]), [7; 32]);
        let chosen = |mix: &Mix| -> Vec<String> {
            names.iter().map(|name| mix.choose(name).expect("one").as_str().to_owned()).collect()
        };
        let first = chosen(&mix);
        for (kind, percent) in [(ARGON2, 50), (BCRYPT, 30), (DJANGO, 20)] {
            let count = first.iter().filter(|hash| *hash == kind).count();
            assert!(count.abs_diff(percent * 100) < 200, "{kind}: {count}");
        }
        let mut sample = hashes([5, 3, 2]);
        sample.extend(
            ["damaged", "$2b$31$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW"]
                .map(|hash| PasswordHash::from_stored(hash.to_owned())),
        );
        assert_eq!(chosen(&Mix::new(sample, [7; 32])), first, "another replica, another sample");
        let other = chosen(&Mix::new(hashes([50, 30, 20]), [8; 32]));
        assert_ne!(other, first, "another secret");
        let moved = chosen(&Mix::new(hashes([51, 29, 20]), [7; 32]));
        let changed = moved.iter().zip(&first).filter(|(one, other)| one != other).count();
        assert!((1..300).contains(&changed), "{changed}");
        assert!(Mix::new(vec![], [7; 32]).choose(&names[0]).is_none());
    }

    /// A real user's hash never becomes one of another old kind.
    #[test]
    fn p6_unknown_names_move_between_kinds_only_as_users_do() {
        let mix = |[ours, bcrypt, django]: [usize; 3]| {
            let all = [(ARGON2, ours), (BCRYPT, bcrypt), (DJANGO, django)];
            let hashes = all.into_iter().flat_map(|(hash, count)| vec![hash.to_owned(); count]);
            Mix::new(hashes.map(PasswordHash::from_stored).collect(), [7; 32])
        };
        let (before, after) = (mix([100, 500, 400]), mix([550, 250, 200]));
        let mut moved = 0;
        for name in (0..10_000).map(|n| Username::parse(&format!("nobody{n}")).expect("a name")) {
            let (old, new) = (before.choose(&name).expect("one").as_str(), after.choose(&name).expect("one").as_str());
            assert!(new == old || new == ARGON2, "{} from {old} to {new}", name.as_str());
            moved += usize::from(new != old);
        }
        assert!((4000..5000).contains(&moved), "{moved}");
    }
}
