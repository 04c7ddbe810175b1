//! UserService. Each method reads, calls one operation of `auth`, and writes.

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{
    decode, encode, import,
    service::{ConfirmationDeadline, Service, respond},
    services::user_service_server::UserService,
    v1,
};
use crate::{
    auth::revoke::CONFIRM_WITHIN,
    domain::user::{Username, parse_roles},
    edge::Caller,
};

#[async_trait]
impl UserService for Service {
    async fn create_user(
        &self,
        request: Request<v1::CreateUserRequest>,
    ) -> Result<Response<v1::CreateUserResponse>, Status> {
        let auth = &self.auth;
        respond(async {
            let caller = Caller::of(request.extensions())?;
            let request = request.into_inner();
            let username = Username::parse(&request.username)?;
            let min = auth.passwords.min_length();
            let password = decode::new_password("password", request.password, min)?;
            let roles = parse_roles(request.roles)?;
            caller.may_give(&roles)?;
            let user = auth.users.create(username, password, roles).await?;
            Ok(v1::CreateUserResponse { user: Some(encode::user(user)) })
        })
        .await
    }

    async fn get_user(&self, request: Request<v1::GetUserRequest>) -> Result<Response<v1::GetUserResponse>, Status> {
        respond(async {
            let key = decode::user_key(request.into_inner())?;
            let user = self.auth.users.find(&key).await?;
            Ok(v1::GetUserResponse { user: Some(encode::user(user)) })
        })
        .await
    }

    async fn list_users(
        &self,
        request: Request<v1::ListUsersRequest>,
    ) -> Result<Response<v1::ListUsersResponse>, Status> {
        respond(async {
            let request = request.into_inner();
            let page = decode::page(request.page_size, &request.page_token)?;
            let users = self.auth.users.list(page).await?;
            let users = users.into_iter().map(encode::user).collect();
            let (users, next_page_token) = encode::listing(page, users, |user: &v1::User| &user.user_id);
            Ok(v1::ListUsersResponse { users, next_page_token })
        })
        .await
    }

    async fn update_user(
        &self,
        request: Request<v1::UpdateUserRequest>,
    ) -> Result<Response<v1::UpdateUserResponse>, Status> {
        respond(async {
            let confirm_by = ConfirmationDeadline::of(request.metadata(), CONFIRM_WITHIN);
            let caller = Caller::of(request.extensions())?;
            let request = request.into_inner();
            let id = decode::user_id(&request.user_id)?;
            let change = decode::user_change(request)?;
            caller.may_give(change.roles.as_deref().unwrap_or_default())?;
            let (user, revoked) = self.auth.users.update(id, change).await?;
            let user = Some(encode::user(user));
            let v1::RevokeResponse { sessions_revoked, confirmed, everywhere_by, .. } =
                self.confirm(revoked, confirm_by).await;
            Ok(v1::UpdateUserResponse { user, sessions_revoked, confirmed, everywhere_by })
        })
        .await
    }

    async fn delete_user(
        &self,
        request: Request<v1::DeleteUserRequest>,
    ) -> Result<Response<v1::DeleteUserResponse>, Status> {
        respond(async {
            let confirm_by = ConfirmationDeadline::of(request.metadata(), CONFIRM_WITHIN);
            let id = decode::user_id(&request.get_ref().user_id)?;
            let revoked = self.auth.users.delete(id).await?;
            let v1::RevokeResponse { sessions_revoked, confirmed, everywhere_by, .. } =
                self.confirm(revoked, confirm_by).await;
            Ok(v1::DeleteUserResponse { sessions_revoked, confirmed, everywhere_by })
        })
        .await
    }

    async fn set_password(
        &self,
        request: Request<v1::SetPasswordRequest>,
    ) -> Result<Response<v1::SetPasswordResponse>, Status> {
        let auth = &self.auth;
        respond(async {
            let confirm_by = ConfirmationDeadline::of(request.metadata(), CONFIRM_WITHIN);
            let request = request.into_inner();
            let id = decode::user_id(&request.user_id)?;
            let min = auth.passwords.min_length();
            let password = decode::new_password("password", request.password, min)?;
            let revoked = auth.users.set_password(id, password).await?;
            let v1::RevokeResponse { sessions_revoked, confirmed, everywhere_by, .. } =
                self.confirm(revoked, confirm_by).await;
            Ok(v1::SetPasswordResponse { sessions_revoked, confirmed, everywhere_by })
        })
        .await
    }

    async fn change_password(
        &self,
        request: Request<v1::ChangePasswordRequest>,
    ) -> Result<Response<v1::ChangePasswordResponse>, Status> {
        let auth = &self.auth;
        respond(async {
            let confirm_by = ConfirmationDeadline::of(request.metadata(), CONFIRM_WITHIN);
            let request = request.into_inner();
            let device = auth.keys.ring().decode_device(&request.device_hint);
            let change = decode::password_change(request, auth.passwords.min_length(), device)?;
            let revoked = auth.users.change_password(change).await?;
            let v1::RevokeResponse { sessions_revoked, confirmed, everywhere_by, .. } =
                self.confirm(revoked, confirm_by).await;
            Ok(v1::ChangePasswordResponse { sessions_revoked, confirmed, everywhere_by })
        })
        .await
    }
    async fn import_users(
        &self,
        request: Request<Streaming<v1::ImportUsersRequest>>,
    ) -> Result<Response<v1::ImportUsersResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let (auth, drain) = (Arc::clone(&self.auth), self.drain.clone());
        import::import(auth, caller, request.into_inner(), drain).await.map(Response::new)
    }
}
