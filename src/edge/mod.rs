//! The edge: who calls, how they name their calls, and what the policy of callers lets them do. It is asked before a handler is
//! reached, whatever the protocol. Knows HTTP's headers, and no server of either protocol.

mod answer;
mod caller;
mod callers;
mod client_address;
mod failures;
mod forwarded;
mod gate;
mod identity;
mod monitor;
mod named_call;
mod permission;

pub use self::{
    answer::{Answer, Class, retry_after},
    caller::Caller,
    callers::{Callers, Defaults},
    client_address::client_address,
    failures::{CalledBy, Failures},
    gate::{Gate, Refusal},
    named_call::{NamedCall, Names},
};
