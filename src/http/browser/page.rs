//! The login page as HTML: one document with its style, and no script.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::Response,
};

use super::{
    super::html::{self, escaped},
    language::Texts,
};

const STYLE: &str = include_str!("page.css");

/// A page.
#[derive(Debug)]
pub(super) struct Page<'p> {
    pub texts: &'static Texts,
    /// The message above the form; None for none.
    pub message: Option<&'static str>,
    pub form: Form<'p>,
}

/// The form on a page.
#[derive(Debug)]
pub(super) enum Form<'p> {
    /// Name and password.
    LogIn {
        /// The name as it was typed before.
        username: &'p str,
        /// The place to go to afterwards.
        return_to: &'p str,
    },
    /// A button to log out.
    LogOut,
}

impl Page<'_> {
    /// The answer with this page.
    pub(super) fn respond(&self, status: StatusCode) -> Response {
        let mut response = html::respond(status, self.html(), STYLE);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(self.texts.language));
        headers.insert(header::VARY, HeaderValue::from_static("accept-language, cookie"));
        response
    }

    fn html(&self) -> String {
        let Texts { language, title, .. } = self.texts;
        let message = self.message.map(|text| format!("<p role=\"alert\">{}</p>\n", escaped(text))).unwrap_or_default();
        let form = self.form_html();
        format!(
            "<!doctype html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{message}{form}</main>\n</body>\n</html>\n"
        )
    }

    fn form_html(&self) -> String {
        let Texts { username: name_label, password, log_in, log_out, .. } = self.texts;
        match self.form {
            Form::LogOut => format!("<form method=\"post\" action=\"/logout\">\n<button>{log_out}</button>\n</form>\n"),
            Form::LogIn { username, return_to } => {
                // Who has typed a name types the password next.
                let (first, second) = if username.is_empty() { (" autofocus", "") } else { ("", " autofocus") };
                let (username, return_to) = (escaped(username), escaped(return_to));
                format!(
                    "<form method=\"post\" action=\"/login\">\n\
                     <label for=\"username\">{name_label}</label>\n\
                     <input id=\"username\" name=\"username\" value=\"{username}\" autocomplete=\"username\" autocapitalize=\"none\" \
                     spellcheck=\"false\" required{first}>\n\
                     <label for=\"password\">{password}</label>\n\
                     <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" required{second}>\n\
                     <input type=\"hidden\" name=\"return_to\" value=\"{return_to}\">\n<button>{log_in}</button>\n</form>\n"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_text_and_no_markup() {
        let typed = "\"><script>alert('x')</script>&";
        let form = Form::LogIn { username: typed, return_to: typed };
        let html = Page { texts: Texts::of("en"), message: None, form }.html();
        assert!(!html.contains("<script") && !html.contains("\"\">"), "{html}");
        assert_eq!(html.matches("&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;").count(), 2);
    }
}
