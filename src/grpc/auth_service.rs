//! AuthService. Each method reads, calls one operation of `auth`, and writes.

use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};

use super::{
    decode, encode,
    service::{ConfirmationDeadline, Service, deadline, respond},
    services::auth_service_server::AuthService,
    v1,
    verify_response::{VerifyBatchResponse, VerifyResponse},
    watch::{self, Events},
};
use crate::{
    auth::{login::LoggedIn, refresh::Exchange, revoke::Target},
    edge::Caller,
    error::Error,
};

#[async_trait]
impl AuthService for Service {
    async fn login(&self, request: Request<v1::LoginRequest>) -> Result<Response<v1::LoginResponse>, Status> {
        respond(async {
            let (until, caller) = (deadline(request.metadata()), Caller::of(request.extensions())?);
            let mut request = decode::login(request.into_inner(), until)?;
            request.client_id = caller.client_id();
            request.client = caller.believed(request.client);
            request.audience = caller.audiences(request.audience, &self.auth.token_policy.audiences)?;
            let LoggedIn { tokens, device_hint } = self.auth.login(request).await?;
            let device_hint = device_hint.expose().to_owned();
            Ok(v1::LoginResponse { tokens: Some(encode::tokens(tokens)), device_hint })
        })
        .await
    }

    async fn verify(&self, request: Request<v1::VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        respond(async {
            let request = request.get_ref();
            let demand = decode::demand(&request.audience, request.max_staleness.as_ref())?;
            let (verified, freshness) = self.auth.verify(&request.access_token, demand)?;
            Ok(VerifyResponse::new(&verified, freshness.as_of()))
        })
        .await
    }

    async fn verify_batch(
        &self,
        request: Request<v1::VerifyBatchRequest>,
    ) -> Result<Response<VerifyBatchResponse>, Status> {
        respond(async {
            let caller = Caller::of(request.extensions())?;
            let request = request.get_ref();
            let demand = decode::demand(&request.audience, request.max_staleness.as_ref())?;
            let tokens = decode::batch(&request.access_tokens)?;
            caller.count_verified(request.access_tokens.len())?;
            let (verdicts, freshness) = self.auth.verify_batch(tokens, demand).await?;
            Ok(VerifyBatchResponse::new(&verdicts, freshness.as_of()))
        })
        .await
    }

    async fn refresh(&self, request: Request<v1::RefreshRequest>) -> Result<Response<v1::RefreshResponse>, Status> {
        respond(async {
            let caller = Caller::of(request.extensions())?;
            let mut request = decode::refresh(request.into_inner())?;
            request.client = request.client.map(|client| caller.believed(client));
            request.caller = caller.refreshing();
            let refreshed = self.auth.refresh(request).await;
            if let Err(Error::CallerNotAllowed) = refreshed {
                caller.refused();
            }
            let refreshed = refreshed?;
            Ok(v1::RefreshResponse {
                tokens: Some(encode::tokens(refreshed.tokens)),
                replayed: refreshed.exchange == Exchange::Replayed,
            })
        })
        .await
    }

    async fn revoke(&self, request: Request<v1::RevokeRequest>) -> Result<Response<v1::RevokeResponse>, Status> {
        respond(async {
            let caller = Caller::of(request.extensions())?;
            let (metadata, _, request) = request.into_parts();
            let (target, wait) = decode::revoke(request)?;
            let confirm_by = ConfirmationDeadline::of(&metadata, wait);
            if matches!(target, Target::Session(_) | Target::User(..)) {
                caller.may_revoke_by_id()?;
            }
            let revoked = self.auth.revoke(target).await?;
            Ok(self.confirm(revoked, confirm_by).await)
        })
        .await
    }

    async fn list_sessions(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        respond(async {
            let request = request.into_inner();
            let page = decode::page(request.page_size, &request.page_token)?;
            let user = decode::user_id(&request.user_id)?;
            let sessions = self.auth.sessions.list(user, page).await?;
            let sessions = sessions.into_iter().map(encode::session).collect();
            let (sessions, next_page_token) = encode::listing(page, sessions, |s: &v1::Session| &s.session_id);
            Ok(v1::ListSessionsResponse { sessions, next_page_token })
        })
        .await
    }

    async fn get_jwks(&self, _: Request<v1::GetJwksRequest>) -> Result<Response<v1::GetJwksResponse>, Status> {
        respond(async { Ok(v1::GetJwksResponse { jwks: self.auth.keys.ring().jwks()?.json }) }).await
    }

    type WatchRevocationsStream = Events;

    async fn watch_revocations(
        &self,
        request: Request<v1::WatchRevocationsRequest>,
    ) -> Result<Response<Events>, Status> {
        let watching = async {
            let place = self.streams.take(Caller::of(request.extensions())?.holder());
            watch::watch(Arc::clone(&self.auth), &request.get_ref().position, self.drain.clone(), place)
        };
        respond(watching).await
    }
}
