//! The name and the password that a browser sends, as JSON or as a form.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    domain::{password::Password, user::Username},
    error::Error,
};

/// The fields of a login.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Credentials {
    username: String,
    password: Zeroizing<String>,
    /// The place to go to afterwards; of a form alone.
    #[serde(skip)]
    pub return_to: String,
}

/// A body that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The body is larger than a name and a password.
    TooLarge,
    /// The content type is neither JSON nor a form.
    ContentType,
    /// The body is not of its content type.
    Malformed,
}

impl Unreadable {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Malformed => StatusCode::BAD_REQUEST,
        }
    }
}

impl Credentials {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub(super) async fn read(request: Request) -> Result<Self, Unreadable> {
        let headers = request.headers().clone();
        let body = Bytes::from_request(request, &()).await.map_err(|rejection: BytesRejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                Unreadable::TooLarge
            } else {
                Unreadable::Malformed
            }
        })?;
        match media_type(&headers).as_str() {
            "application/json" => serde_json::from_slice(&body).map_err(|_| Unreadable::Malformed),
            "application/x-www-form-urlencoded" => Self::from_form(&body),
            _ => Err(Unreadable::ContentType),
        }
    }

    /// Reads a form. Browsers send each field once.
    fn from_form(body: &[u8]) -> Result<Self, Unreadable> {
        let mut credentials = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let field = match name.as_ref() {
                "username" => &mut credentials.username,
                "password" => &mut *credentials.password,
                "return_to" => &mut credentials.return_to,
                _ => continue,
            };
            if !std::mem::replace(field, value.into_owned()).is_empty() {
                return Err(Unreadable::Malformed);
            }
        }
        Ok(credentials)
    }

    /// The name as it was typed.
    pub(super) fn typed_name(&self) -> &str {
        &self.username
    }

    /// The name and the password.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`].
    pub(super) fn parse(&self) -> Result<(Username, Password), Error> {
        Ok((Username::parse(&self.username)?, Password::parse("password", &self.password)?))
    }
}

/// The content type without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(kind: &str, body: &'static str) -> Result<(String, String), Unreadable> {
        let request = Request::builder().header(header::CONTENT_TYPE, kind).body(body.into()).expect("a request");
        Credentials::read(request).await.map(|read| (read.username, read.password.to_string()))
    }

    #[tokio::test]
    async fn forms_and_json_are_read_alike() {
        let ann = Ok(("ann".to_owned(), "p&w\u{e9}".to_owned()));
        assert_eq!(read("application/json; charset=utf-8", r#"{"username":"ann","password":"p&wé"}"#).await, ann);
        assert_eq!(read("Application/X-WWW-Form-Urlencoded", "username=ann&password=p%26w%C3%A9&x=1").await, ann);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_told_apart() {
        for (kind, body, expected) in [
            ("text/plain", "{}", Unreadable::ContentType),
            ("", "{}", Unreadable::ContentType),
            ("application/json", "{", Unreadable::Malformed),
            ("application/json", r#"{"username":1}"#, Unreadable::Malformed),
            ("application/json", r#"["ann","p"]x"#, Unreadable::Malformed),
            ("application/x-www-form-urlencoded", "username=a&username=b", Unreadable::Malformed),
        ] {
            assert_eq!(read(kind, body).await, Err(expected), "{kind} {body}");
        }
    }
}
