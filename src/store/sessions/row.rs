//! The columns that are read of a session, and of its user.

use countersign_token::ids::{SessionId, UserId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    domain::{
        rotation::{Liveness, RotationState},
        session::{ClientInfo, Session},
    },
    error::Error,
};

macro_rules! columns {
    () => {
        "s.session_id, s.user_id, s.generation, s.previous_generation, s.rotated_at, s.created_at, \
     s.expires_at, s.idle_expires_at, s.revoked_at, s.client_id, s.audience, s.client_ip, s.client_user_agent, \
     s.client_device, s.epoch, u.username, u.roles, u.disabled_at IS NULL AND u.epoch = s.epoch AS user_allows"
    };
}

pub(super) use columns;

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    session_id: Uuid,
    user_id: Uuid,
    generation: i64,
    previous_generation: i64,
    rotated_at: OffsetDateTime,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    idle_expires_at: OffsetDateTime,
    revoked_at: Option<OffsetDateTime>,
    client_id: String,
    audience: Vec<String>,
    client_ip: String,
    client_user_agent: String,
    client_device: String,
    epoch: i64,
    username: String,
    roles: Vec<String>,
    user_allows: bool,
    /// True if the floor of sessions has ended this one. A session that was just rotated is neither below it nor undecided.
    #[sqlx(default)]
    below_floor: bool,
    #[sqlx(default)]
    undecided: bool,
}

impl TryFrom<Row> for Session {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let liveness = match (row.revoked_at, row.user_allows && !row.below_floor) {
            (None, true) if row.undecided => Liveness::Undecided,
            (None, true) => Liveness::Until(row.expires_at.min(row.idle_expires_at)),
            _ => Liveness::Ended,
        };
        Ok(Self {
            id: SessionId(row.session_id),
            user_id: UserId(row.user_id),
            username: row.username,
            epoch: row.epoch,
            roles: row.roles,
            audience: row.audience,
            client_id: row.client_id,
            created_at: row.created_at,
            expires_at: row.expires_at,
            idle_expires_at: row.idle_expires_at,
            rotation: RotationState {
                generation: u32::try_from(row.generation).map_err(Error::internal)?,
                previous_generation: u32::try_from(row.previous_generation).map_err(Error::internal)?,
                rotated_at: row.rotated_at,
                liveness,
            },
            client: ClientInfo { ip: row.client_ip, user_agent: row.client_user_agent, device: row.client_device },
        })
    }
}
