//! The edge: who calls, and what the policy of callers lets them do. It is asked before a handler is reached, whatever the
//! protocol. Knows HTTP's headers, and no server of either protocol.

mod caller;
mod callers;
mod forwarded;
mod gate;
mod identity;
mod monitor;
mod permission;

pub use self::{
    caller::Caller,
    callers::{Callers, Defaults},
    gate::{Gate, Refusal},
};
