//! The ways into the process: ports, their connections, TLS, and who is at the other end. Nothing here knows what is asked.

mod accept;
mod connect;
mod connection;
mod expiry;
mod http_client;
mod listener;
mod peer;
mod places;
mod protocol;
mod requests;
mod tls;
mod uri_names;

pub use self::{
    accept::{Port, serve},
    connect::{Security, connect},
    expiry::first_expiry,
    http_client::{HttpAnswer, HttpClient, Trust},
    listener::Listener,
    peer::{CertificateNames, Peer},
    places::{Full, Place, Places, network},
    protocol::Protocol,
    tls::{TlsConfig, TlsFiles},
};
