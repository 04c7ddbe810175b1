//! The sessions, one row each. Their table is called `refresh_tokens`, as operators and their queries know it. It holds
//! no token: a refresh token names its session and a generation, and the row says which generation is the current one.

mod end;
mod open;
mod read;
mod rotate;
mod row;
pub mod sweep;

pub use self::{
    end::{delete_some, revoke, revoke_others},
    open::{Opening, open},
    read::{count_live, find_all, list, live_but_newest, revoked_since},
    rotate::{RotationUpdate, advance, advance_all},
};
