//! Measures the verifier beside a running service: `measure COUNTERSIGN USERNAME PASSWORD`.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "it measures, and prints"
)]

use std::{env, error::Error, fs, hint::black_box, thread, time::Instant};

use countersign_client::{Countersign, Endpoints, Verifier, v1};

const TIMES: u32 = 2_000_000;
const CALLS: u32 = 5_000;
const LOGOUTS: usize = 300;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [countersign, username, password] =
        env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "3 arguments")?;
    let endpoints = Endpoints::new([countersign])?;
    let client = Countersign::new(&endpoints);
    let before = resident();
    let verifier = Verifier::builder(endpoints.clone()).start();
    verifier.ready().await?;
    println!("memory of what one verifier follows: {} KiB", resident().saturating_sub(before));
    let forgetful = Verifier::builder(endpoints).remembered(0).start();
    forgetful.ready().await?;
    let login = async || {
        client
            .login(v1::LoginRequest { username: username.clone(), password: password.clone(), ..Default::default() })
            .await
    };
    let token = login().await?.tokens.ok_or("no tokens")?.access_token;

    for threads in [1, 2] {
        println!("remembered, {threads} threads: {:.0} ns each", each(&verifier, &token, threads, TIMES));
        println!(
            "with the signature, {threads} threads: {:.0} ns each",
            each(&forgetful, &token, threads, TIMES / 100)
        );
    }
    let begun = Instant::now();
    for _ in 0..CALLS {
        client.verify(v1::VerifyRequest { access_token: token.clone(), ..Default::default() }).await?;
    }
    println!(
        "Verify over loopback, one after the other: {:.0} ns each",
        begun.elapsed().as_nanos() as f64 / f64::from(CALLS)
    );

    let mut times = Vec::new();
    for _ in 0..LOGOUTS {
        let tokens = login().await?.tokens.ok_or("no tokens")?;
        verifier.verify_now(&tokens.access_token)?;
        let target = Some(v1::revoke_request::Target::RefreshToken(tokens.refresh_token));
        client.revoke(v1::RevokeRequest { target, ..Default::default() }).await?;
        let begun = Instant::now();
        while verifier.verify_now(&tokens.access_token).is_ok() {
            tokio::task::yield_now().await;
        }
        times.push(begun.elapsed());
    }
    times.sort();
    println!("refused after Revoke was answered: p50 {:?}, p99 {:?}", times[LOGOUTS / 2], times[LOGOUTS * 99 / 100]);
    Ok(())
}

/// Nanoseconds for a look at a token, in each of some threads.
fn each(verifier: &Verifier, token: &str, threads: usize, times: u32) -> f64 {
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..times).for_each(|_| drop(black_box(verifier.verify_now(black_box(token))))));
        }
    });
    begun.elapsed().as_nanos() as f64 / f64::from(times)
}

/// The resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
