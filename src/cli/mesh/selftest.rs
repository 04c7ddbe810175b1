//! `countersign mesh selftest`: proves that a proxy refuses what has ended. That it has taken what it was sent proves nothing.

use std::{path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use super::super::{output::say, process::stop_signals, user::read_line};
use crate::{
    config::{read_file, read_secret_file},
    domain::{
        text::first_line,
        unreached::{no_answer, unreached},
    },
    error::Error,
    grpc::Client,
    net::{HttpClient, Trust},
};

/// Time between two questions to the proxy.
const PAUSE: Duration = Duration::from_millis(10);
/// Time before a token's expiry from which on a refusal may be that.
const MARGIN: Duration = Duration::from_secs(2);
/// Longest time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
const TOLD: &str = "look whether Countersign's log says that a proxy wants to be told of revocations, or that it refuses \
    what it is told; and whether the filters at the proxy are those of `countersign mesh`";

#[derive(Args)]
pub(super) struct Selftest {
    /// URL at the proxy of something that needs a token
    #[arg(long)]
    proxy: String,

    /// URL of Countersign's gRPC port: http(s)://HOST:PORT
    #[arg(long)]
    countersign: String,

    /// Name of the user who logs in: best one of this test's own
    #[arg(long)]
    username: String,

    /// File with the user's password; without it, the first line of standard input is the password
    #[arg(long)]
    password_file: Option<PathBuf>,

    /// Audiences that the token is for; all, if none is named
    #[arg(long, value_delimiter = ',')]
    audience: Vec<String>,

    /// CA certificates, in PEM, of which the servers at https URLs must have theirs
    #[arg(long)]
    ca_file: Option<PathBuf>,

    /// File with a service token, where the policy file asks who calls
    #[arg(long)]
    token_file: Option<PathBuf>,

    /// Longest time until the proxy accepts a new token, and until it refuses one whose session has ended
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    within: Duration,
}

impl Selftest {
    pub(super) async fn run(self) -> Result<(), Error> {
        let ca = self.ca_file.as_deref().map(|file| read_file("ca-file", file)).transpose()?;
        let ca = ca.as_ref().map(|ca| ca.as_str());
        let service_token = self.token_file.as_deref().map(|file| read_secret_file("token-file", file)).transpose()?;
        let service_token = service_token.as_ref().map(|token| token.trim());
        let proxy = HttpClient::new("proxy", &self.proxy, Trust::Ca(ca))?;
        let countersign = Client::new("countersign", &self.countersign, ca, service_token, self.within)?;
        let password = match &self.password_file {
            Some(file) => Zeroizing::new(first_line(&read_secret_file("password-file", file)?).to_owned()),
            None => read_line().await?,
        };
        let user = Login { username: self.username, password, audience: self.audience };
        let mut test = Test { proxy, countersign, user, within: self.within, live: Vec::new() };
        let mut stop = stop_signals()?;
        let outcome = tokio::select! {
            outcome = test.run() => outcome,
            () = stop.requested() => Err(Error::invalid("selftest", "it was stopped before it had proved anything")),
        };
        let ended = test.end_sessions().await;
        if let (Err(_), Err(error)) = (&outcome, &ended) {
            tracing::warn!(%error, "the session of this test lives on, until it expires");
        }
        let took = outcome?;
        ended?;
        say(format_args!("refused {:.1} ms after Revoke was answered", took.as_secs_f64() * 1000.0))
    }
}

/// The user who logs in.
struct Login {
    username: String,
    password: Zeroizing<String>,
    audience: Vec<String>,
}

/// A test under way.
struct Test {
    proxy: HttpClient,
    countersign: Client,
    user: Login,
    within: Duration,
    /// Access tokens of the sessions that it has opened, and not ended.
    live: Vec<Zeroizing<String>>,
}

impl Test {
    /// The time from the answer of Revoke to the refusal.
    async fn run(&mut self) -> Result<Duration, Error> {
        self.strangers_are_refused().await?;
        let logged_in = Instant::now();
        let token = self.login().await?;
        if let Err(seen) = self.ask_until(&token, passes).await {
            let within = humantime::format_duration(self.within);
            return Err(failure(format!(
                "it {seen} with a new token, for {within}: look whether it asks for another audience or issuer; {TOLD}"
            )));
        }
        self.end_sessions().await?;
        let answered = Instant::now();
        let refused = self.ask_until(&token, refuses).await;
        if life(&token).is_none_or(|life| logged_in.elapsed() + MARGIN >= life) {
            return Err(failure(format!(
                "a token had expired before its session's end was seen, which proves nothing: let tokens live longer than \
                 --within, or make that shorter; {TOLD}"
            )));
        }
        if let Err(seen) = refused {
            let within = humantime::format_duration(self.within);
            return Err(failure(format!(
                "it {seen} with a token whose session had ended {within} before: revocations do not reach it; {TOLD}"
            )));
        }
        let took = answered.elapsed();
        let token = self.login().await?;
        if let Err(seen) = self.ask_until(&token, passes).await {
            return Err(failure(format!(
                "it {seen} with a token of a new session, after another session had ended: its refusal proves nothing, \
                 because it refuses everything; {TOLD}"
            )));
        }
        Ok(took)
    }

    /// Passes if the proxy wants a token at all.
    async fn strangers_are_refused(&mut self) -> Result<(), Error> {
        match self.ask(None, PATIENCE).await {
            Ok(status) if refuses(status) => Ok(()),
            Ok(status) if passes(status) => Err(failure(format!(
                "it answered {status} without a token: the URL is open to everybody, so nothing can be proved by it; name \
                 one that needs a token"
            ))),
            Ok(status) => Err(failure(format!(
                "it answered {status} without a token, and not 401 or 403: look whether the proxy is set up for this URL"
            ))),
            Err(error) => Err(failure(format!("{error}: look whether the proxy runs, and listens where the URL says"))),
        }
    }

    async fn login(&mut self) -> Result<Zeroizing<String>, Error> {
        let Login { username, password, audience } = &self.user;
        let token = self.countersign.login(username, password, audience).await?;
        self.live.push(token.clone());
        Ok(token)
    }

    /// Ends the sessions that live.
    async fn end_sessions(&mut self) -> Result<(), Error> {
        while let Some(token) = self.live.last() {
            self.countersign.revoke(token).await?;
            self.live.pop();
        }
        Ok(())
    }

    /// Asks with a token until the status is one that is wanted. Fails with what was seen last.
    async fn ask_until(&mut self, token: &str, is_wanted: fn(u16) -> bool) -> Result<(), String> {
        let end = Instant::now() + self.within;
        loop {
            let seen = match self.ask(Some(token), PATIENCE).await {
                Ok(status) if is_wanted(status) => return Ok(()),
                Ok(status) => format!("answered {status}"),
                Err(error) => format!("did not answer ({error})"),
            };
            if Instant::now() >= end {
                return Err(seen);
            }
            sleep(PAUSE).await;
        }
    }

    async fn ask(&mut self, token: Option<&str>, limit: Duration) -> Result<u16, String> {
        match timeout(limit, self.proxy.get(token)).await {
            Ok(answer) => answer.map_err(|error| unreached(self.proxy.authority(), &error)),
            Err(_) => Err(no_answer(self.proxy.authority())),
        }
    }
}

/// The whole life of an access token, by its claims.
fn life(token: &str) -> Option<Duration> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    let date = |name: &str| claims.get(name)?.as_u64();
    Some(Duration::from_secs(date("exp")?.checked_sub(date("iat")?)?))
}

fn failure(text: String) -> Error {
    Error::invalid("proxy", text)
}

/// True for the refusal of a token.
fn refuses(status: u16) -> bool {
    matches!(status, 401 | 403)
}

/// True for an answer that only a request that has passed gets.
fn passes(status: u16) -> bool {
    !refuses(status) && status < 500
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_an_answer_and_from_a_fault() {
        for (status, expected) in
            [(200, (true, false)), (404, (true, false)), (401, (false, true)), (403, (false, true))]
        {
            assert_eq!((passes(status), refuses(status)), expected, "{status}");
        }
        assert!(!passes(503) && !refuses(503));
    }
}
