//! One round of a digest, with a salt or none: hashes that are weak whatever the digest. LDAP servers, Kratos, Django before
//! 1.4 and much that people wrote themselves stored them.

use base64::Engine as _;

use super::{
    digests::Digest,
    parts::{Read, STANDARD, from_hex, parameters, same, scheme},
};

const MAX_SALT: usize = 64;
const DIGESTS: [Digest; 4] = [Digest::Md5, Digest::Sha1, Digest::Sha256, Digest::Sha512];
/// The place of the password in a format of Kratos.
const PASSWORD: &str = "{PASSWORD}";

pub(super) const FORM: &str =
    "a digest of MD5, SHA-1, SHA-256 or SHA-512, of its length, with the salt that its form asks for";

/// A digest of the password with what stands before and behind it.
pub struct Once {
    digest: Digest,
    before: Vec<u8>,
    behind: Vec<u8>,
    /// The digest for the right password.
    pub expected: Vec<u8>,
}

pub(super) fn read(text: &str) -> Read<Once> {
    if let Some(read) = read_parts(&text.split('$').collect::<Vec<_>>()) {
        return Some(read.ok_or(FORM));
    }
    let Some((name, rest)) = scheme(text) else {
        let digest = match text.len() {
            32 => Digest::Md5,
            40 => Digest::Sha1,
            _ => return None,
        };
        let expected = from_hex(text)?;
        return Some(Ok(Once { digest, before: Vec::new(), behind: Vec::new(), expected }));
    };
    let (digest, is_salted) = match name.as_str() {
        "md5" => (Digest::Md5, false),
        "sha" => (Digest::Sha1, false),
        "sha256" => (Digest::Sha256, false),
        "sha512" => (Digest::Sha512, false),
        "smd5" => (Digest::Md5, true),
        "ssha" => (Digest::Sha1, true),
        "ssha256" => (Digest::Sha256, true),
        "ssha512" => (Digest::Sha512, true),
        _ => return None,
    };
    Some(once_of(digest, is_salted, rest).ok_or(FORM))
}

/// Reads what Kratos and Django write, with `$` between its parts.
fn read_parts(parts: &[&str]) -> Option<Option<Once>> {
    let digest_of = |name: &str| DIGESTS.into_iter().find(|digest| digest.to_string() == name);
    match *parts {
        ["", name, hash] => {
            let digest = digest_of(name)?;
            Some(formatted(digest, PASSWORD, &[], STANDARD.decode(hash).ok()))
        }
        ["", name, params, salt, hash] => {
            let digest = digest_of(name)?;
            let format = parameters(params, ["pf"]).and_then(|[format]| STANDARD.decode(format).ok());
            let format = format.and_then(|format| String::from_utf8(format).ok());
            let (salt, hash) = (STANDARD.decode(salt).ok(), STANDARD.decode(hash).ok());
            Some(format.zip(salt).and_then(|(format, salt)| formatted(digest, &format, &salt, hash)))
        }
        // Django takes the text of the salt for the salt.
        [name @ ("md5" | "sha1"), salt, hash] => {
            Some(formatted(digest_of(name)?, "{SALT}{PASSWORD}", salt.as_bytes(), from_hex(hash)))
        }
        _ => None,
    }
}

/// Reads Kratos' format, which names the password once, and the salt as often as it likes.
fn formatted(digest: Digest, format: &str, salt: &[u8], hash: Option<Vec<u8>>) -> Option<Once> {
    let (before, behind) = format.split_once(PASSWORD).filter(|(_, behind)| !behind.contains(PASSWORD))?;
    let salted = |text: &str| text.split("{SALT}").map(str::as_bytes).collect::<Vec<_>>().join(salt);
    let expected = hash.filter(|hash| hash.len() == digest.length())?;
    Some(Once { digest, before: salted(before), behind: salted(behind), expected })
}

fn once_of(digest: Digest, is_salted: bool, text: &str) -> Option<Once> {
    let bytes = STANDARD.decode(text).ok()?;
    let (expected, salt) = bytes.split_at_checked(digest.length())?;
    let fits = if is_salted { (1..=MAX_SALT).contains(&salt.len()) } else { salt.is_empty() };
    fits.then(|| Once { digest, before: Vec::new(), behind: salt.to_vec(), expected: expected.to_vec() })
}

impl Once {
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        same(&self.digest.of(&[&self.before, password, &self.behind]), &self.expected)
    }

    pub(super) fn cost(&self) -> String {
        self.digest.to_string()
    }
}
