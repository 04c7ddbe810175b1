//! A user of the service, and what it can do.

use countersign::grpc::v1::{
    ChangePasswordRequest, CreateUserRequest, LoginRequest, Principal, RefreshRequest, RefreshResponse, RevokeRequest,
    RevokeResponse, TokenPair, VerifyRequest, auth_service_client::AuthServiceClient, revoke_request::Target,
};
use sqlx::{Connection as _, PgConnection};
use tonic::{Status, transport::Channel};

use super::{TestServer, administering};

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A user, and the replica that it talks to.
#[derive(Clone)]
pub(crate) struct User {
    pub id: String,
    pub name: String,
    client: AuthServiceClient<Channel>,
}

impl User {
    pub(super) async fn create(server: &TestServer, name: &str) -> Self {
        let request = CreateUserRequest {
            username: name.to_owned(),
            password: PASSWORD.to_owned(),
            roles: vec!["reader".to_owned()],
        };
        let answer = server.user_client().create_user(administering(request)).await.expect("created");
        let user = answer.into_inner().user.expect("a user");
        Self { id: user.user_id, name: user.username, client: server.auth_client() }
    }

    /// The same user, talking to another replica.
    pub(crate) fn at(&self, server: &TestServer) -> Self {
        self.through(server.auth_client())
    }

    pub(crate) fn through(&self, client: AuthServiceClient<Channel>) -> Self {
        Self { client, ..self.clone() }
    }

    pub(crate) async fn login(&self) -> TokenPair {
        self.login_with(PASSWORD).await.expect("logged in")
    }

    pub(crate) async fn login_with(&self, password: &str) -> Result<TokenPair, Status> {
        let request = LoginRequest { username: self.name.clone(), password: password.to_owned(), ..Default::default() };
        let answer = self.client.clone().login(request).await?;
        Ok(answer.into_inner().tokens.expect("tokens"))
    }

    pub(crate) async fn verify(&self, access_token: &str) -> Result<Principal, Status> {
        let request = VerifyRequest { access_token: access_token.to_owned(), ..Default::default() };
        let answer = self.client.clone().verify(request).await?;
        Ok(answer.into_inner().principal.expect("a principal"))
    }

    pub(crate) async fn refresh(&self, refresh_token: &str) -> Result<RefreshResponse, Status> {
        let request = RefreshRequest { refresh_token: refresh_token.to_owned(), ..Default::default() };
        Ok(self.client.clone().refresh(request).await?.into_inner())
    }

    /// Refreshes, and gives the new tokens alone.
    pub(crate) async fn rotate(&self, refresh_token: &str) -> TokenPair {
        self.refresh(refresh_token).await.expect("refreshed").tokens.expect("tokens")
    }

    pub(crate) async fn revoke(&self, target: Target) -> Result<RevokeResponse, Status> {
        let request = RevokeRequest { target: Some(target), ..Default::default() };
        Ok(self.client.clone().revoke(request).await?.into_inner())
    }

    pub(crate) fn change_password(&self, new_password: &str, keep_session_id: &str) -> ChangePasswordRequest {
        ChangePasswordRequest {
            username: self.name.clone(),
            old_password: PASSWORD.to_owned(),
            new_password: new_password.to_owned(),
            keep_session_id: keep_session_id.to_owned(),
            ..Default::default()
        }
    }
}

/// How many sessions the database holds that have not ended.
pub(crate) async fn live_sessions(server: &TestServer) -> i64 {
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    sqlx::query_scalar("SELECT count(*) FROM refresh_tokens s JOIN users u ON u.id = s.user_id AND u.epoch = s.epoch WHERE s.revoked_at IS NULL")
        .fetch_one(&mut connection)
        .await
        .expect("counted")
}
