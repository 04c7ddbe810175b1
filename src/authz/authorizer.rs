//! The decision about a request that a proxy asks about: by the route, and by the same memory as Verify. Only where a browser's
//! access token has expired is the database asked: its session then goes on within the call.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use countersign_token::{error::Rejection, verifier::Requirements};
use tokio::time::{Instant, timeout_at};

use super::{
    cookies::Cookies,
    credentials::{self, Credentials, TokenPlace},
    decision::{Allowed, Decision, Renewal},
    denial::{Denial, TOKEN_MISSING},
    extensions::Extensions,
    identity::encoded,
    renewals::Renewals,
    request::AskedRequest,
};
use crate::{
    auth::{
        Auth,
        refresh::{Delivery, RefreshRequest},
        tokens::TokenPair,
        verified::VerifiedToken,
    },
    config::FilePolicy,
    crypto::secret::Secret,
    domain::{
        caller_policy::RefreshingCaller,
        policy::{AuthzPolicy, BrowserSessions},
        route::{Access, Demand},
    },
    edge::{Class, Failures, NamedCall},
    error::Error,
    metrics,
};

/// Claim client_id of sessions that browsers open by themselves.
pub const BROWSER_CLIENT_ID: &str = "browser";
/// The longest time that a session may take to go on within a call. Proxies wait for about as long.
const RENEWED_WITHIN: Duration = Duration::from_secs(1);

/// Bytes of a path with its query that a login leads back to.
pub const MAX_RETURN_TO: usize = 2048;

/// Decides about requests.
#[derive(Clone, Debug)]
pub struct Authorizer {
    /// The operations.
    pub auth: Arc<Auth>,
    /// The choices of the deployment.
    pub policy: Arc<AuthzPolicy>,
    /// Says in the log what failed.
    pub failures: Arc<Failures>,
    file: Option<Arc<ArcSwap<FilePolicy>>>,
    renewals: Arc<Renewals>,
}

/// A token that is accepted, or why none is.
type Found = Result<(Arc<VerifiedToken>, Option<TokenPair>), Denial>;

impl Authorizer {
    /// An authorizer by these choices, and the policy file if there is one.
    pub fn new(auth: Arc<Auth>, policy: AuthzPolicy, file: Option<Arc<ArcSwap<FilePolicy>>>) -> Self {
        let failures = Arc::new(Failures::new(auth.base.clock.clone()));
        Self { auth, policy: Arc::new(policy), file, failures, renewals: Arc::default() }
    }

    /// Decides about a request of a proxy, whose route demands this. The proxy waits until then for an answer.
    ///
    /// # Errors
    /// Faults that are not the client's: [`Error::RevocationsStale`], [`Error::KeyUnusable`]. For a session that should go on
    /// within the call also [`Error::DatabaseUnavailable`], [`Error::ClockWrong`], [`Error::RestoreUndecided`].
    pub async fn authorize(
        &self,
        request: &AskedRequest<'_>,
        route: Extensions,
        until: Option<Instant>,
    ) -> Result<Decision, Error> {
        match self.demand(request, route) {
            Ok(demand) => self.decide(request, &demand, Renewal { until, delivery: Delivery::ByProxy }).await,
            Err(denial) => self.counted(Ok(Decision::Denied(Box::new(denial)))),
        }
    }

    /// Decides about a request by a demand alone.
    ///
    /// # Errors
    /// Those of [`Authorizer::authorize`].
    pub async fn decide(
        &self,
        request: &AskedRequest<'_>,
        demand: &Demand,
        renewal: Renewal,
    ) -> Result<Decision, Error> {
        let decision = self.judge(request, demand, renewal).await;
        self.counted(decision)
    }

    /// Counts a decision.
    fn counted(&self, decision: Result<Decision, Error>) -> Result<Decision, Error> {
        self.auth.base.metrics.outcomes.decisions.count(match &decision {
            Ok(Decision::Allowed(_)) => metrics::Decision::Allowed,
            Ok(Decision::Denied(_)) => metrics::Decision::Denied,
            Err(_) => metrics::Decision::Unavailable,
        });
        decision
    }

    async fn judge(&self, request: &AskedRequest<'_>, demand: &Demand, renewal: Renewal) -> Result<Decision, Error> {
        if demand.access == Access::Public {
            return Ok(Decision::nobody(false));
        }
        let (found, place) = match credentials::read(request, &self.policy) {
            Err(credentials::Malformed) => (Err(Denial::token_malformed()), None),
            Ok(Credentials::None) => (Err(Denial::token_missing()), None),
            Ok(Credentials::Presented(token, place)) => (self.verify(token, demand)?.map(|t| (t, None)), Some(place)),
            Ok(Credentials::Cookies(cookies, query)) => {
                match (self.verify_cookies(request, cookies, demand, renewal).await?, query) {
                    // Cookies that mean nothing any more are not to hide a token that the page has put into the query.
                    (Err(denial), Some(token)) if denial.class == Class::Unauthenticated && !denial.clears_cookies => {
                        (self.verify(token, demand)?.map(|token| (token, None)), Some(TokenPlace::Query))
                    }
                    (found, _) => (found, Some(TokenPlace::Cookie)),
                }
            }
        };
        Ok(match found {
            Ok((token, renewed)) => {
                Decision::Allowed(Box::new(Allowed { token: Some(token), renewed, clears_cookies: false }))
            }
            // Who has shown a token by itself is to hear that it is none.
            Err(denial) if demand.access == Access::Optional && is_anonymous(&denial, place) => {
                Decision::nobody(denial.clears_cookies)
            }
            Err(denial) => Decision::Denied(Box::new(self.with_login(denial, request))),
        })
    }

    fn demand(&self, request: &AskedRequest<'_>, route: Extensions) -> Result<Demand, Denial> {
        let file = self.file.as_ref().map(|file| file.load());
        let rule = match &file {
            Some(file) => file.routes.find(request.host, request.path(), request.method),
            None => Ok(None),
        };
        let rule = rule.map_err(|_| Denial::route_ambiguous())?;
        Ok(route.with(rule.map(|rule| &rule.demand)))
    }

    /// Verifies an access token, and what the route demands of it.
    ///
    /// # Errors
    /// Faults that are not the client's.
    fn verify(&self, token: &str, demand: &Demand) -> Result<Result<Arc<VerifiedToken>, Denial>, Error> {
        let requirements = Requirements { audience: demand.audiences.first().map(String::as_str), max_staleness: None };
        let verified = match self.auth.verify(token, requirements) {
            Ok((verified, _)) => verified,
            Err(Error::Rejected(Rejection::AudienceMismatch)) => return Ok(Err(Denial::audience_missing())),
            Err(error) => return Denial::of(error).map(Err),
        };
        let principal = &verified.principal;
        Ok(if !demand.audiences.iter().all(|audience| principal.audience.contains(audience)) {
            Err(Denial::audience_missing())
        } else if !demand.is_met_by(&principal.roles) {
            Err(Denial::role_missing())
        } else {
            Ok(verified)
        })
    }

    /// Verifies the access tokens of a browser. If none is valid any more, the session goes on by its refresh token.
    async fn verify_cookies(
        &self,
        request: &AskedRequest<'_>,
        cookies: Cookies<'_>,
        demand: &Demand,
        renewal: Renewal,
    ) -> Result<Found, Error> {
        let mut denial = Denial::token_missing();
        for token in [cookies.access, cookies.carried].into_iter().flatten() {
            match self.verify(token, demand)? {
                Ok(verified) => return Ok(Ok((verified, None))),
                // No other token of the session has what this one lacks.
                Err(lacking) if lacking.class != Class::Unauthenticated => return Ok(Err(lacking)),
                Err(invalid) => denial = invalid,
            }
            // What memory knows need not be asked of the database.
            if cookies.refresh.is_some_and(|refresh| self.auth.has_ended(token, refresh)) {
                return Denial::of(Error::Rejected(Rejection::Revoked)).map(Err);
            }
        }
        match cookies.refresh {
            // Rare, and large: what is decided by memory alone is not to carry it.
            Some(token) => Box::pin(self.renew(request, token, demand, renewal)).await,
            None => Ok(Err(denial)),
        }
    }

    /// Refreshes a browser's session, and verifies its new access token.
    async fn renew(
        &self,
        asked: &AskedRequest<'_>,
        token: &str,
        demand: &Demand,
        renewal: Renewal,
    ) -> Result<Found, Error> {
        let latest = Instant::now() + RENEWED_WITHIN;
        let until = renewal.until.map_or(latest, |until| until.min(latest));
        let request = RefreshRequest {
            refresh_token: Secret::new(token.to_owned()),
            access_token: None,
            client: None,
            caller: self.browser(),
            delivery: renewal.delivery,
        };
        // Envoy puts the names into its question, where nobody has looked for them yet.
        let named = NamedCall::unless_named(&asked.names());
        let refresh = async {
            let refresh = self.auth.refresh(request);
            let refreshed = match named {
                Some(named) => named.carry(refresh).await?,
                None => refresh.await?,
            };
            Ok(refreshed.tokens)
        };
        let refresh = self.renewals.share(token, renewal.delivery, refresh);
        // It goes on by itself if it is late, and the same cookie is good for the next request (promise P2).
        let refreshed = timeout_at(until, refresh).await.map_err(|_| late())?;
        match refreshed {
            Ok(tokens) => Ok(match self.verify(tokens.access_token.expose(), demand)? {
                Ok(token) => Ok((token, Some(tokens))),
                Err(denial) => Err(Denial { renewed: Some(Box::new(tokens)), ..denial }),
            }),
            // The session is another client's own; for this one its token is none.
            Err(Error::CallerNotAllowed) => Denial::of(Error::RefreshTokenInvalid).map(Err),
            Err(error) => {
                let clears_cookies = matches!(error, Error::RefreshTokenReused);
                Ok(Err(Denial { clears_cookies, ..Denial::of(error)? }))
            }
        }
    }

    /// The browsers, as a caller that refreshes.
    pub fn browser(&self) -> RefreshingCaller {
        let policy = self.file.as_ref().map(|file| Arc::clone(&file.load().callers));
        RefreshingCaller { client_id: BROWSER_CLIENT_ID.to_owned(), policy }
    }

    /// A denial that leads a browser to the login page, if there is one.
    fn with_login(&self, denial: Denial, request: &AskedRequest<'_>) -> Denial {
        let leads = self.policy.browser_sessions == BrowserSessions::LoginPage
            && denial.class == Class::Unauthenticated
            && request.navigates
            // A proxy that names no method names no path either.
            && ["GET", ""].contains(&request.method);
        let login = leads.then(|| match request.target {
            // What the page would not lead back to is left away.
            target if target.is_empty() || target.len() > MAX_RETURN_TO => "/login".to_owned(),
            target => format!("/login?return_to={}", encoded(target, b"%&+#=?;")),
        });
        Denial { login, ..denial }
    }
}

/// True if an optional route lets a request in without its token: it showed none, or cookies that a browser sends by itself.
fn is_anonymous(denial: &Denial, place: Option<TokenPlace>) -> bool {
    denial.class == Class::Unauthenticated && (place == Some(TokenPlace::Cookie) || denial.reason == TOKEN_MISSING)
}

fn late() -> Error {
    Error::DatabaseUnavailable("a session could not go on before the proxy would have given up".into())
}
