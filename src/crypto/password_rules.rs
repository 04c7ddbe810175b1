//! Rules for new passwords: not on the operator's list, and not easy to guess (REQUIREMENTS R52). The length is checked
//! by `domain/password.rs`. A password that is in use is never asked: whoever knows it logs in.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use tokio::sync::{Mutex, Semaphore, oneshot};
use zeroize::Zeroizing;
use zxcvbn::zxcvbn;

use super::blocklist::Blocklist;
use crate::{
    domain::{password::Password, user::Username},
    error::Error,
};

const ESTIMATED_CHARS: usize = 48;
/// Number of passwords that may be estimated or wait for it, and the time that the slowest takes.
const PLACES: usize = 16;
const ESTIMATE_TIME: Duration = Duration::from_secs(1);

/// The rules.
#[derive(Debug)]
pub struct PasswordRules {
    path: Option<PathBuf>,
    blocklist: OnceLock<Blocklist>,
    min_score: u8,
    places: Semaphore,
    /// Held by the thread that estimates.
    estimating: Arc<Mutex<()>>,
}

impl PasswordRules {
    /// The file of the list, if there is one, and the least score by zxcvbn, 0 for any. The file is read by
    /// [`PasswordRules::load`], or else at the first check.
    pub fn new(path: Option<PathBuf>, min_score: u8) -> Self {
        let (places, estimating) = (Semaphore::new(PLACES), Arc::default());
        Self { path, blocklist: OnceLock::new(), min_score, places, estimating }
    }

    /// Reads the list, which may take minutes; says how many entries it has.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a file that cannot be read, or is no list.
    pub fn load(&self) -> Result<Option<usize>, Error> {
        Ok(self.blocklist()?.map(Blocklist::entries))
    }

    /// Checks a new password of that user.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for `field`; as for [`PasswordRules::load`] if the list was not read before;
    /// [`Error::Overloaded`] when too many wait; [`Error::Internal`] when a thread cannot be started.
    pub async fn check(&self, field: &'static str, password: &Password, username: &Username) -> Result<(), Error> {
        if self.blocklist()?.is_some_and(|list| list.contains(password)) {
            return Err(Error::invalid(field, "is on the list of passwords that are known to attackers"));
        }
        if self.min_score == 0 {
            return Ok(());
        }
        let retry_after = ESTIMATE_TIME;
        let _place = self.places.try_acquire().map_err(|_| Error::Overloaded { retry_after })?;
        // One at a time: a hostile password takes a core for most of a second, and Verify needs the others (promise P5).
        let turn = Arc::clone(&self.estimating).lock_owned().await;
        let (reply, answer) = oneshot::channel();
        let (password, username) = (password.clone(), username.clone());
        // The turn lasts as long as the work, even if its caller goes.
        let estimate = move || {
            let estimated = estimate(&password, &username);
            drop(turn);
            drop(reply.send(estimated));
        };
        thread::Builder::new().name("estimate".to_owned()).spawn(estimate).map_err(Error::internal)?;
        let (score, advice) = answer.await.map_err(Error::internal)?;
        if score >= self.min_score {
            Ok(())
        } else {
            Err(Error::invalid(field, format!("too easy to guess: {advice}")))
        }
    }

    fn blocklist(&self) -> Result<Option<&Blocklist>, Error> {
        let Some(path) = &self.path else {
            return Ok(None);
        };
        if self.blocklist.get().is_none() {
            // Whoever was faster has read the same.
            drop(self.blocklist.set(Blocklist::read(path)?));
        }
        Ok(self.blocklist.get())
    }
}

/// The score of a password, 0 to 4, and how to choose a better one. By its first characters alone: what comes after them
/// makes it stronger, and its estimate expensive.
fn estimate(password: &Password, username: &Username) -> (u8, String) {
    let first: Zeroizing<String> = Zeroizing::new(password.as_str().chars().take(ESTIMATED_CHARS).collect());
    let entropy = zxcvbn(&first, &[username.as_str()]);
    let advice = entropy.feedback().map(|feedback| {
        let warning = feedback.warning().map(|warning| warning.to_string());
        let suggestions = feedback.suggestions().iter().map(ToString::to_string);
        warning.into_iter().chain(suggestions).collect::<Vec<_>>().join(" ")
    });
    let advice = advice.filter(|advice| !advice.is_empty());
    (entropy.score().into(), advice.unwrap_or_else(|| "Use more words, or less common ones.".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use proptest::prelude::*;
    use tokio::time::timeout;

    use super::*;

    async fn check(rules: &PasswordRules, password: &str) -> Result<(), String> {
        let password = Password::parse("password", password).expect("valid");
        let name = Username::parse("Wilhelmina-Quackenbush").expect("valid");
        match rules.check("password", &password, &name).await {
            Ok(()) => Ok(()),
            Err(Error::InvalidArgument(violations)) => Err(violations[0].description.clone()),
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn r52_without_settings_every_password_will_do() {
        assert_eq!(check(&PasswordRules::new(None, 0), "aaaaaaaaaaaaaaa").await, Ok(()));
    }

    #[tokio::test]
    async fn r52_a_password_that_is_easy_to_guess_is_refused_with_advice() {
        let rules = PasswordRules::new(None, 3);
        for (password, word) in [
            ("aaaaaaaaaaaaaaaaaaaa", "Repeats"),
            ("passwordpassword", "too easy"),
            ("wilhelmina-quackenbush", "too easy"),
            ("WILHELMINA-QUACKENBUSH1", "too easy"),
        ] {
            let refused = check(&rules, password).await.expect_err(password);
            assert!(refused.starts_with("too easy to guess: ") && refused.contains(word), "{refused}");
            assert!(!refused.to_lowercase().contains("quackenbush"), "{refused}");
        }
        for good in [
            "correct horse battery staple",
            "k3N-vbTq82hs_lPw",
            "\u{5bc6}\u{7801}\u{5f88}\u{96be}\u{731c}\u{4e0d}\u{662f}\u{5417} 4711 Tannenzapfen",
        ] {
            assert_eq!(check(&rules, good).await, Ok(()), "{good}");
        }
        assert!(check(&PasswordRules::new(None, 4), "wilhelmina-quackenbush").await.is_err());
    }

    #[tokio::test]
    async fn p5_more_estimates_than_there_are_places_for_are_refused_and_none_is_lost() {
        let rules = PasswordRules::new(None, 3);
        let turn = rules.estimating.lock().await;
        let mut waiting: Vec<_> = (0..PLACES).map(|_| Box::pin(check(&rules, "aaaaaaaaaaaaaaa"))).collect();
        for check in &mut waiting {
            assert!(timeout(Duration::ZERO, check).await.is_err(), "it waits");
        }
        let (password, name) = (Password::parse("password", "a").expect("valid"), Username::parse("a").expect("valid"));
        let refused = rules.check("password", &password, &name).await;
        assert!(matches!(refused, Err(Error::Overloaded { .. })), "{refused:?}");
        drop((turn, waiting.pop()));
        for check in waiting {
            assert!(check.await.expect_err("weak").starts_with("too easy"));
        }
        assert!(check(&rules, "correct horse battery staple").await.is_ok());
    }

    #[tokio::test]
    async fn r52_the_list_is_read_once_and_what_is_wrong_with_it_names_the_setting_and_the_file() {
        let path = env::temp_dir().join(format!("countersign-blocklist-{}", std::process::id()));
        let missing = PasswordRules::new(Some(path.clone()), 0).load().expect_err("missing").to_string();
        assert!(missing.starts_with("password-blocklist: ") && missing.contains("countersign-blocklist"), "{missing}");
        fs::write(&path, "Tr0ub4dor and three\n").expect("written");
        let rules = PasswordRules::new(Some(path.clone()), 0);
        assert_eq!(rules.load().expect("read"), Some(1));
        fs::remove_file(&path).expect("removed");
        let refused = check(&rules, "tr0ub4dor AND three").await.expect_err("on the list");
        assert_eq!(refused, "is on the list of passwords that are known to attackers");
        assert!(PasswordRules::new(Some(env::temp_dir()), 0).load().is_err(), "a folder is no list");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A panic would print a piece of it.
        #[test]
        fn no_password_makes_the_estimate_panic(text in "\\PC{1,60}|[a4@e3$s5 19\u{e9}\u{5bc6}\u{1f600}-]{1,60}") {
            if let Ok(password) = Password::parse("password", &text) {
                let name = Username::parse("alice").expect("valid");
                estimate(&password, &name);
            }
        }
    }
}
