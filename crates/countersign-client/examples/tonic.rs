//! A tonic service that is protected by Countersign: `tonic LISTEN COUNTERSIGN`. Its one service is health, of which Check is open and
//! Watch is not.

use std::{env, error::Error};

use countersign_client::{Endpoints, Verifier};
use tonic::transport::Server;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:9000".to_owned()).parse()?;
    let countersign = arguments.next().unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    let (_, health) = tonic_health::server::health_reporter();

    let endpoints = Endpoints::new([countersign])?;
    let verifier = Verifier::builder(endpoints).audience("internal").start();
    let guard = verifier.require().public("/grpc.health.v1.Health/Check");
    Server::builder().layer(guard).add_service(health).serve(listen).await?;
    Ok(())
}
