//! The preparation of a run: sessions are opened, tokens renewed, revoked or waited for, and messages made of them.
//! Tokens are had by Refresh, because a Login costs a password hash.

use std::{fmt, time::Duration};

use countersign_token::clock::Clock;
use tokio::{task::JoinSet, time::sleep};
use zeroize::Zeroizing;

use super::{
    call::{Call, Mix},
    supply::{Part, Plan, Supply},
    wire::{Stream, Target, Template, frame},
};
use countersign::{
    error::Error,
    grpc::v1::{self, revoke_request::Target as Revokee},
};

/// A few sessions, with as many tokens each: any cache holds them.
const FEW: usize = 8;
/// The sessions that the tokens of `verify-cold` belong to, and how many callers log in at once.
const SIDE_BY_SIDE: usize = 32;
/// The largest page of ListSessions.
const PAGE: i32 = 1000;
/// The length of what is no token, and of the message of the empty call.
const LENGTH: usize = 400;

/// The users who log in.
#[derive(Clone)]
pub(crate) struct Credentials {
    /// The name; with several users what comes before `-1`, `-2` and so on.
    pub username: String,
    /// Number of users; 0 for one, whose name that is.
    pub users: usize,
    /// The password that all of them have.
    pub password: Zeroizing<String>,
}

/// The things that messages are made with.
pub(crate) struct Preparation {
    /// The server.
    pub target: Target,
    /// The users who log in, for all calls but `verify-garbage` and `empty`.
    pub credentials: Option<Credentials>,
    /// The bearer token of an administrator.
    pub bearer: Option<Zeroizing<String>>,
    /// The most tokens of `verify-cold`, and sessions of `revoke-by-id`.
    pub tokens: usize,
    /// The sessions of `revoke`.
    pub sessions: usize,
    /// The tokens in a call of `verify-batch`.
    pub batch: usize,
    /// Longest time that tokens may take to expire.
    pub wait: Duration,
    /// Says how long that is.
    pub clock: Clock,
}

impl Credentials {
    /// The name of the user of that number.
    fn name(&self, number: usize) -> String {
        match self.users {
            0 => self.username.clone(),
            users => format!("{}-{}", self.username, number % users + 1),
        }
    }
}

impl Preparation {
    /// A preparation for calls that need nobody who logs in.
    pub(crate) fn bare(target: Target, clock: Clock) -> Self {
        let (tokens, sessions, batch, wait) = (0, 0, 0, Duration::ZERO);
        Self { target, credentials: None, bearer: None, tokens, sessions, batch, wait, clock }
    }

    /// The messages that `callers` of `mix` send.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] says what is missing or was refused.
    pub(crate) async fn plan(&self, mix: &Mix, callers: usize) -> Result<Plan, Error> {
        let stream = Stream::connect(&self.target).await?;
        let mut parts = Vec::new();
        for call in mix.calls() {
            let bearer = self.bearer.as_ref().filter(|_| call == Call::RevokeById).map(|token| token.as_str());
            let template = Template::new(&self.target, call.path(), bearer)?;
            let supply = self.supply(call, &stream, callers).await?;
            parts.push(Part { template, supply });
        }
        Ok(Plan { mix: mix.clone(), parts })
    }

    async fn supply(&self, call: Call, stream: &Stream, callers: usize) -> Result<Supply, Error> {
        Ok(match call {
            Call::VerifyWarm => verify(self.few_tokens(stream).await?),
            Call::VerifyCold => {
                let sessions = self.log_in(stream, SIDE_BY_SIDE.min(self.tokens)).await?;
                let times = self.tokens.div_ceil(SIDE_BY_SIDE);
                let tokens = self.renew(stream, sessions, times).await?.into_iter().flatten();
                Supply::once(tokens.take(self.tokens).map(|pair| verify_one(pair.access_token)).collect())
            }
            Call::VerifyRevoked => verify(self.revoked(stream).await?),
            Call::VerifyExpired => verify(self.expired(stream).await?),
            Call::VerifyGarbage => verify(vec![format!("{0}.{0}.{0}", "garbage-".repeat(LENGTH / 24))]),
            Call::VerifyBatch => self.batches(stream).await?,
            Call::Login => {
                let credentials = self.credentials()?;
                let requests = (0..credentials.users.max(1)).map(|number| frame(&credentials.request(number)));
                Supply::Again(requests.collect())
            }
            Call::Refresh => {
                let sessions = self.log_in(stream, callers).await?;
                Supply::Chain(sessions.into_iter().map(|pair| pair.refresh_token).collect())
            }
            Call::Revoke => {
                let sessions = self.log_in(stream, self.sessions).await?;
                let targets = sessions.into_iter().map(|pair| Revokee::RefreshToken(pair.refresh_token));
                Supply::once(targets.map(revoke).collect())
            }
            Call::RevokeById => {
                let ids = self.session_ids(stream).await?;
                Supply::once(ids.into_iter().map(|id| revoke(Revokee::SessionId(id))).collect())
            }
            Call::Empty => Supply::Again([frame(&"x".repeat(LENGTH))].into()),
        })
    }

    fn credentials(&self) -> Result<&Credentials, Error> {
        self.credentials.as_ref().ok_or_else(|| Error::invalid("username", "this call needs a user who logs in"))
    }

    /// Opens so many sessions.
    async fn log_in(&self, stream: &Stream, count: usize) -> Result<Vec<v1::TokenPair>, Error> {
        let credentials = self.credentials()?;
        let template = Template::new(&self.target, Call::Login.path(), None)?;
        let mut tasks = JoinSet::new();
        for first in 0..SIDE_BY_SIDE.min(count) {
            let (mut stream, template, credentials) = (stream.clone(), template.clone(), credentials.clone());
            tasks.spawn(async move {
                let mut sessions = Vec::new();
                for number in (first..count).step_by(SIDE_BY_SIDE) {
                    let request = credentials.request(number);
                    let answer: v1::LoginResponse = stream.unary("login", &template, &request).await?;
                    sessions.push(answer.tokens.unwrap_or_default());
                }
                Ok(sessions)
            });
        }
        Ok(all(tasks).await?.into_iter().flatten().collect())
    }

    /// Refreshes each session so many times, and gives what each had then, the newest last.
    async fn renew(
        &self,
        stream: &Stream,
        sessions: Vec<v1::TokenPair>,
        times: usize,
    ) -> Result<Vec<Vec<v1::TokenPair>>, Error> {
        let template = Template::new(&self.target, Call::Refresh.path(), None)?;
        let mut tasks = JoinSet::new();
        for mut pair in sessions {
            let (mut stream, template) = (stream.clone(), template.clone());
            tasks.spawn(async move {
                let mut pairs = Vec::new();
                for _ in 0..times {
                    let request = v1::RefreshRequest { refresh_token: pair.refresh_token, ..Default::default() };
                    let answer: v1::RefreshResponse = stream.unary("refresh", &template, &request).await?;
                    pair = answer.tokens.unwrap_or_default();
                    pairs.push(pair.clone());
                }
                Ok(pairs)
            });
        }
        all(tasks).await
    }

    async fn few_tokens(&self, stream: &Stream) -> Result<Vec<String>, Error> {
        let sessions = self.log_in(stream, FEW).await?;
        let pairs = self.renew(stream, sessions, FEW).await?;
        Ok(pairs.into_iter().flatten().map(|pair| pair.access_token).collect())
    }

    async fn revoked(&self, stream: &Stream) -> Result<Vec<String>, Error> {
        let sessions = self.log_in(stream, FEW).await?;
        let (mut stream, mut tokens) = (stream.clone(), Vec::new());
        let template = Template::new(&self.target, Call::Revoke.path(), None)?;
        for mut pairs in self.renew(&stream, sessions, FEW).await? {
            tokens.extend(pairs.iter().map(|pair| pair.access_token.clone()));
            let target = pairs.pop().map(|last| Revokee::RefreshToken(last.refresh_token));
            let request = v1::RevokeRequest { target, ..Default::default() };
            let _: v1::RevokeResponse = stream.unary("revoke", &template, &request).await?;
        }
        Ok(tokens)
    }

    /// Tokens that were good, once their time is over.
    async fn expired(&self, stream: &Stream) -> Result<Vec<String>, Error> {
        let sessions = self.log_in(stream, FEW).await?;
        let ends = sessions.iter().filter_map(|pair| pair.access_token_expires_at.as_ref().map(|at| at.seconds)).max();
        let left = ends.unwrap_or(0) + 1 - self.clock.now().unix_timestamp();
        let left = Duration::from_secs(u64::try_from(left).unwrap_or(0));
        if left > self.wait {
            let advice = "start the server with a short --access-token-ttl, and allow for it";
            return Err(Error::invalid("wait", format!("tokens expire in {} s only: {advice}", left.as_secs())));
        }
        sleep(left).await;
        Ok(sessions.into_iter().map(|pair| pair.access_token).collect())
    }

    /// Batches of the few tokens. That each of them is accepted is seen once, here: the call is OK whatever they are.
    async fn batches(&self, stream: &Stream) -> Result<Supply, Error> {
        let tokens = self.few_tokens(stream).await?;
        let access_tokens: Vec<_> = tokens.iter().cycle().take(self.batch).cloned().collect();
        let request = v1::VerifyBatchRequest { access_tokens, ..Default::default() };
        let template = Template::new(&self.target, Call::VerifyBatch.path(), None)?;
        let answer: v1::VerifyBatchResponse = stream.clone().unary("batch", &template, &request).await?;
        let accepted =
            |result: &v1::VerifyResult| matches!(result.result, Some(v1::verify_result::Result::Principal(_)));
        if !answer.results.iter().all(accepted) {
            return Err(Error::invalid("batch", "the server did not accept all of the tokens"));
        }
        Ok(Supply::Again([frame(&request)].into()))
    }

    /// Live sessions of the users, as an administrator sees them.
    async fn session_ids(&self, stream: &Stream) -> Result<Vec<String>, Error> {
        let credentials = self.credentials()?;
        let bearer = self.bearer.as_ref().map(|token| token.as_str());
        let users = Template::new(&self.target, "/countersign.v1.UserService/GetUser", bearer)?;
        let lists = Template::new(&self.target, "/countersign.v1.AuthService/ListSessions", bearer)?;
        let (mut stream, mut ids) = (stream.clone(), Vec::new());
        for number in 0..credentials.users.max(1) {
            let key = Some(v1::get_user_request::Key::Username(credentials.name(number)));
            let found: v1::GetUserResponse = stream.unary("username", &users, &v1::GetUserRequest { key }).await?;
            let user_id = found.user.unwrap_or_default().user_id;
            let mut request = v1::ListSessionsRequest { user_id, page_size: PAGE, ..Default::default() };
            while ids.len() < self.tokens {
                let page: v1::ListSessionsResponse = stream.unary("username", &lists, &request).await?;
                ids.extend(page.sessions.into_iter().map(|session| session.session_id));
                request.page_token = page.next_page_token;
                if request.page_token.is_empty() {
                    break;
                }
            }
        }
        ids.truncate(self.tokens);
        Ok(ids)
    }
}

impl Credentials {
    fn request(&self, number: usize) -> v1::LoginRequest {
        let password = self.password.as_str().to_owned();
        v1::LoginRequest { username: self.name(number), password, ..Default::default() }
    }
}

async fn all<T: 'static>(mut tasks: JoinSet<Result<T, Error>>) -> Result<Vec<T>, Error> {
    let mut done = Vec::new();
    while let Some(task) = tasks.join_next().await {
        done.push(task.map_err(Error::internal)??);
    }
    Ok(done)
}

fn verify(tokens: Vec<String>) -> Supply {
    Supply::Again(tokens.into_iter().map(verify_one).collect())
}

fn verify_one(access_token: String) -> bytes::Bytes {
    frame(&v1::VerifyRequest { access_token, ..Default::default() })
}

fn revoke(target: Revokee) -> bytes::Bytes {
    frame(&v1::RevokeRequest { target: Some(target), ..Default::default() })
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?}, ..)", self.username)
    }
}

impl fmt::Debug for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Preparation({:?}, ..)", self.target)
    }
}
