//! Revocation inside the proxy: lists of what has ended, and the keys, as extensions of Envoy that are pushed to it (xDS). Envoy
//! verifies tokens by itself then, and refuses those that were revoked. Knows no gRPC; `grpc/xds` carries the messages.

mod catalogue;
mod lists;
mod matchers;
mod names;
mod proxies;
mod subscriber;
mod wire;

pub use self::{
    catalogue::{Catalogue, Contents},
    names::{Life, Name},
    proxies::{Proxies, Told},
    subscriber::{Ack, Push, Pushed, Subscriber},
    wire::resource_of,
};
