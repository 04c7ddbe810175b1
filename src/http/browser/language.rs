//! The languages of the login page, and the choice among them (RFC 9110 section 12.5.4).

/// The texts of the page in a language.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Texts {
    /// The tag of the language (RFC 5646).
    pub language: &'static str,
    pub title: &'static str,
    pub username: &'static str,
    pub password: &'static str,
    pub log_in: &'static str,
    pub logged_in: &'static str,
    pub log_out: &'static str,
    pub logged_out: &'static str,
    pub still_logged_in: &'static str,
    pub wrong_password: &'static str,
    pub throttled: &'static str,
    pub outage: &'static str,
    pub session_limit: &'static str,
    pub incomplete: &'static str,
    pub cross_origin: &'static str,
    pub return_to: &'static str,
}

const ENGLISH: Texts = Texts {
    language: "en",
    title: "Log in",
    username: "Username",
    password: "Password",
    log_in: "Log in",
    logged_in: "You are logged in.",
    log_out: "Log out",
    logged_out: "You are logged out.",
    still_logged_in: "You could not be logged out at the moment. You are still logged in. Please try again soon.",
    wrong_password: "The username or the password is wrong.",
    throttled: "There were too many attempts. Please wait a moment, and try again.",
    outage: "Nobody can log in at the moment. Your password was not looked at. Please try again soon.",
    session_limit: "You are logged in on as many devices as you may. Please log out on one of them first.",
    incomplete: "Please enter your username and your password.",
    cross_origin: "Another site has sent you here to log in. Please log in on this page.",
    return_to: "The link that led you here leads to a place that is not allowed.",
};

const KOREAN: Texts = Texts {
    language: "ko",
    title: "로그인",
    username: "사용자 이름",
    password: "비밀번호",
    log_in: "로그인",
    logged_in: "로그인되어 있습니다.",
    log_out: "로그아웃",
    logged_out: "로그아웃되었습니다.",
    still_logged_in: "지금은 로그아웃할 수 없습니다. 아직 로그인되어 있습니다. 잠시 후 다시 시도해 주세요.",
    wrong_password: "사용자 이름 또는 비밀번호가 올바르지 않습니다.",
    throttled: "시도 횟수가 너무 많습니다. 잠시 후 다시 시도해 주세요.",
    outage: "지금은 로그인할 수 없습니다. 비밀번호는 확인되지 않았습니다. 잠시 후 다시 시도해 주세요.",
    session_limit: "허용된 수의 기기에서 이미 로그인되어 있습니다. 먼저 다른 기기에서 로그아웃해 주세요.",
    incomplete: "사용자 이름과 비밀번호를 입력해 주세요.",
    cross_origin: "다른 사이트에서 보낸 로그인 요청입니다. 이 페이지에서 로그인해 주세요.",
    return_to: "이 링크는 허용되지 않은 위치로 연결됩니다.",
};

impl Texts {
    /// The texts in the language that a browser likes best of those that there are; English if it likes none.
    pub(super) fn of(accept_language: &str) -> &'static Self {
        let ranges = accept_language.split(',').filter_map(|range| {
            let (tag, quality) = range.split_once(";q=").unwrap_or((range, "1"));
            let quality: f32 = quality.trim().parse().ok()?;
            let primary = tag.trim().split('-').next()?.to_ascii_lowercase();
            let texts = [&ENGLISH, &KOREAN].into_iter().find(|texts| texts.language == primary)?;
            (quality > 0.0).then_some((quality, texts))
        });
        // Of equal ones the first counts.
        let best = ranges.fold(None::<(f32, &'static Self)>, |best, range| match best {
            Some(best) if best.0 >= range.0 => Some(best),
            _ => Some(range),
        });
        best.map_or(&ENGLISH, |(_, texts)| texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_that_is_liked_best_is_chosen() {
        for (accept, language) in [
            ("", "en"),
            ("ko", "ko"),
            ("ko-KR,ko;q=0.9,en-US;q=0.8", "ko"),
            ("en-US,en;q=0.9,ko;q=0.8", "en"),
            ("fr, ko;q=0.1", "ko"),
            ("ko;q=0", "en"),
            ("fr", "en"),
            ("KO", "ko"),
            ("ko;q=x, en", "en"),
            ("en;q=0.5, ko;q=0.6", "ko"),
        ] {
            assert_eq!(Texts::of(accept).language, language, "{accept}");
        }
    }
}
