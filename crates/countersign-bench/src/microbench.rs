//! The bare operations that tokens and logins are made of: what they cost without anything of ours around them.

use std::{hint::black_box, thread, time::Duration};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey};
use tokio::time::Instant;

use countersign::{domain::password::HashCost, error::Error};

/// Length of a salt of the service's own hashes.
const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;
/// A message as long as the signed part of an access token.
const MESSAGE: [u8; 400] = [b'x'; 400];
/// Operations between two looks at the clock.
const AT_ONCE: u32 = 64;
/// Other work on the machine only adds time: the best of so many rounds counts.
const ROUNDS: u32 = 5;

/// Times of signing and verifying by EdDSA on one thread, with parsed keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signatures {
    /// The time of signing.
    pub sign: Duration,
    /// The time of verifying.
    pub verify: Duration,
}

/// Measures signatures, for so long each.
///
/// # Errors
/// [`Error::Internal`] when the cryptographic library fails.
pub(crate) fn signatures(within: Duration) -> Result<Signatures, Error> {
    let failed = |_| Error::internal("EdDSA failed");
    let private = Ed25519KeyPair::generate().map_err(failed)?;
    let public = ParsedPublicKey::new(&ED25519, private.public_key().as_ref());
    let public = public.map_err(|_| Error::internal("EdDSA failed"))?;
    let signature = private.sign(&MESSAGE);
    public.verify_sig(&MESSAGE, signature.as_ref()).map_err(failed)?;
    Ok(Signatures {
        sign: best(within, || private.sign(&MESSAGE)),
        verify: best(within, || public.verify_sig(&MESSAGE, signature.as_ref())),
    })
}

/// The time of an operation.
fn best<T>(within: Duration, operation: impl Fn() -> T) -> Duration {
    let round = || {
        let (begun, mut count) = (Instant::now(), 0);
        while begun.elapsed() < within / ROUNDS {
            (0..AT_ONCE).for_each(|_| drop(black_box(operation())));
            count += AT_ONCE;
        }
        begun.elapsed() / count.max(1)
    };
    (0..ROUNDS).map(|_| round()).min().unwrap_or_default()
}

/// Hashes a second by argon2id on so many threads, each with memory that it keeps.
///
/// # Errors
/// [`Error::Internal`] for parameters out of range.
pub(crate) fn hashes_a_second(cost: HashCost, threads: usize, within: Duration) -> Result<f64, Error> {
    let params = Params::new(cost.memory, cost.iterations, cost.lanes, Some(OUTPUT_BYTES));
    let params = params.map_err(|error| Error::internal(error.to_string()))?;
    let mut highest: f64 = 0.0;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let hashing = || {
            let params = params.clone();
            thread::spawn(move || hash_until(&params, begun + within / ROUNDS))
        };
        let threads: Vec<_> = (0..threads).map(|_| hashing()).collect();
        let mut count = 0;
        for thread in threads {
            count += thread.join().map_err(|_| Error::internal("a hashing thread failed"))??;
        }
        highest = highest.max(f64::from(count) / begun.elapsed().as_secs_f64());
    }
    Ok(highest)
}

fn hash_until(params: &Params, until: Instant) -> Result<u32, Error> {
    let mut memory = vec![Block::new(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    let (mut output, mut count) = ([0; OUTPUT_BYTES], 0);
    while Instant::now() < until {
        let hashed = argon2.hash_password_into_with_memory(b"a password", &[7; SALT_BYTES], &mut output, &mut memory);
        hashed.map_err(|error| Error::internal(error.to_string()))?;
        count += 1;
    }
    Ok(count)
}
