//! An axum service that is protected by Countersign: `axum LISTEN COUNTERSIGN`.

use std::{env, error::Error};

use axum::{Router, routing::get};
use countersign_client::{Authenticated, Endpoints, Verifier};

async fn orders(caller: Authenticated) -> String {
    format!("orders of {}", caller.user_id)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    let countersign = arguments.next().unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());

    let endpoints = Endpoints::new([countersign])?;
    let verifier = Verifier::builder(endpoints).audience("internal").start();
    let app = Router::new()
        .route("/orders", get(orders))
        .route("/health", get(|| async { "ok" }))
        .layer(verifier.require().public("/health"));

    axum::serve(tokio::net::TcpListener::bind(listen).await?, app).await?;
    Ok(())
}
