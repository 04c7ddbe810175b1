//! The login page, for people. It needs no script: a form, and a redirect to where they came from.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};

use super::{
    super::refusal,
    client::Browser,
    credentials::Credentials,
    language::Texts,
    origin,
    page::{Form, Page},
    return_to::ReturnTo,
};
use crate::{
    authz::Decision,
    edge::{Answer, Class, retry_after},
    error::Error,
};

/// The query of the page that says that somebody has just logged out.
const LOGGED_OUT: &str = "logged_out";

/// Shows the form. Who is logged in is led on, or can log out.
pub(super) async fn show(browser: Browser, uri: Uri) -> Response {
    let texts = browser.texts();
    let query = uri.query().unwrap_or_default().as_bytes();
    let value =
        |name: &str| form_urlencoded::parse(query).find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let asked = value("return_to").unwrap_or_default();
    let Some(place) = browser.place(&asked) else {
        return browser.form(StatusCode::BAD_REQUEST, Some(texts.return_to), "", "");
    };
    let mut set = HeaderMap::new();
    let decided = browser.session().await;
    if decided.is_err() {
        return browser.form(StatusCode::SERVICE_UNAVAILABLE, Some(texts.outage), "", &asked);
    }
    if let Ok(Decision::Allowed(allowed)) = decided {
        if let Some(tokens) = &allowed.renewed {
            browser.keep(tokens, &mut set);
        }
        let mut response = if asked.is_empty() {
            let page = Page { texts, message: Some(texts.logged_in), form: Form::LogOut };
            page.respond(StatusCode::OK)
        } else {
            redirect(place.as_str())
        };
        response.headers_mut().extend(set);
        return response;
    }
    let message = value(LOGGED_OUT).map(|_| texts.logged_out);
    browser.form(StatusCode::OK, message, "", &asked)
}

/// Logs in, and leads to where the form says.
pub(super) async fn log_in(browser: Browser, request: Request) -> Response {
    let texts = browser.texts();
    let credentials = match Credentials::read(request).await {
        Ok(credentials) => credentials,
        Err(unreadable) => return browser.form(unreadable.status(), Some(texts.incomplete), "", ""),
    };
    let (typed, asked) = (credentials.typed_name(), credentials.return_to.as_str());
    let Some(place) = browser.place(asked) else {
        return browser.form(StatusCode::BAD_REQUEST, Some(texts.return_to), typed, "");
    };
    if origin::check(&browser.headers, &browser.authorizer.policy.allowed_origins).is_err() {
        return browser.form(StatusCode::FORBIDDEN, Some(texts.cross_origin), "", asked);
    }
    let mut set = HeaderMap::new();
    match browser.log_in(&credentials, &mut set).await {
        Ok(_) => {
            let mut response = redirect(place.as_str());
            response.headers_mut().extend(set);
            response
        }
        Err(error) => browser.failed(&error, typed, asked),
    }
}

/// Logs out, and leads to the form.
pub(super) async fn log_out(browser: Browser) -> Response {
    let texts = browser.texts();
    if origin::check(&browser.headers, &browser.authorizer.policy.allowed_origins).is_err() {
        return browser.form(StatusCode::FORBIDDEN, Some(texts.cross_origin), "", "");
    }
    let mut set = HeaderMap::new();
    match browser.log_out(&mut set).await {
        Ok(_) => {
            let mut response = redirect(&format!("/login?{LOGGED_OUT}"));
            response.headers_mut().extend(set);
            response
        }
        Err(error) => {
            browser.authorizer.failures.log("logout", &browser.by, &error);
            let class = Answer::of(&error).class;
            Page { texts, message: Some(texts.still_logged_in), form: Form::LogOut }.respond(refusal::status(class))
        }
    }
}

impl Browser {
    fn texts(&self) -> &'static Texts {
        let accepted = self.headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Texts::of(accepted.unwrap_or_default())
    }

    fn place(&self, asked: &str) -> Option<ReturnTo> {
        ReturnTo::parse(asked, &self.authorizer.policy.allowed_origins)
    }

    fn form(&self, status: StatusCode, message: Option<&'static str>, username: &str, return_to: &str) -> Response {
        let page = Page { texts: self.texts(), message, form: Form::LogIn { username, return_to } };
        page.respond(status)
    }

    /// The form again, with the reason in words.
    fn failed(&self, error: &Error, username: &str, return_to: &str) -> Response {
        let texts = self.texts();
        self.authorizer.failures.log("login", &self.by, error);
        let Answer { class, .. } = Answer::of(error);
        let message = match class {
            Class::Unauthenticated => texts.wrong_password,
            Class::ResourceExhausted => texts.throttled,
            Class::InvalidArgument => texts.incomplete,
            Class::FailedPrecondition => texts.session_limit,
            _ => texts.outage,
        };
        let mut response = self.form(refusal::status(class), Some(message), username, return_to);
        if let Some(pause) = retry_after(error) {
            response.headers_mut().insert(header::RETRY_AFTER, pause.as_secs().max(1).into());
        }
        response
    }
}

/// Leads a browser to a place, by GET (RFC 9110 section 15.4.4).
fn redirect(place: &str) -> Response {
    let mut response = (StatusCode::SEE_OTHER, [(header::CACHE_CONTROL, "no-store")]).into_response();
    // A place was read, and has only what a header may have.
    if let Ok(place) = HeaderValue::from_str(place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}
