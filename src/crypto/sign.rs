//! Signing access tokens: JWTs in the profile of RFC 9068. The reading is `countersign_token::access_token`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_token::claims::Claims;
use serde::Serialize;

use super::{secret::Secret, signing_key::SigningKey};
use crate::error::Error;

/// The header; readers accept no other member.
#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    kid: &'a str,
    typ: &'a str,
}

/// Signs `claims` with `key`.
///
/// # Errors
/// [`Error::Internal`] when the library fails.
pub fn sign_access_token(claims: &Claims, key: &SigningKey) -> Result<Secret, Error> {
    let header = Header { alg: key.algorithm().as_str(), kid: key.kid(), typ: "at+jwt" };
    let header = serde_json::to_vec(&header).map_err(Error::internal)?;
    let claims = serde_json::to_vec(claims).map_err(Error::internal)?;
    let mut token = URL_SAFE_NO_PAD.encode(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(Secret::new(token))
}

#[cfg(test)]
mod tests {
    use countersign_token::{
        access_token,
        algorithm::Algorithm,
        key_set::{KeySet, KeyState},
    };
    use serde_json::json;

    use super::*;
    use crate::crypto::signing_key::KeyMaterial;

    #[test]
    fn what_is_signed_is_read_back() {
        for algorithm in Algorithm::ALL {
            let material = KeyMaterial::generate(algorithm, 2048).expect("key");
            let key = SigningKey::parse(algorithm, &material).expect("sound");
            let keys = KeySet::from_iter([(material.kid, KeyState::Key(key.verifying_key().expect("sound")))]);
            let claims: Claims = serde_json::from_value(json!({
                "iss": "i", "sub": "u", "aud": "a", "exp": 2, "iat": 1, "jti": "j", "client_id": "c", "auth_time": 1,
                "sid": "s", "epoch": 0, "roles": [],
            }))
            .expect("claims");
            let token = sign_access_token(&claims, &key).expect("signed");
            assert_eq!(access_token::open(token.expose(), &keys), Ok(claims));
        }
    }
}
