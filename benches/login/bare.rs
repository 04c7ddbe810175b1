//! Bare argon2id at the default cost: a thread for each core, each with memory that it keeps.

use std::{
    thread,
    time::{Duration, Instant},
};

use argon2::{Algorithm, Argon2, Block, Params, Version};

use crate::server::{defaults, hash_threads};

/// Hashes a second.
pub(crate) fn hashes_a_second(within: Duration) -> f64 {
    let begun = Instant::now();
    let threads: Vec<_> = (0..hash_threads()).map(|_| thread::spawn(move || hash_until(begun, within))).collect();
    let count: u32 = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
    f64::from(count) / begun.elapsed().as_secs_f64()
}

fn hash_until(begun: Instant, within: Duration) -> u32 {
    let cost = defaults().passwords.hashing.cost;
    let params = Params::new(cost.memory, cost.iterations, cost.lanes, Some(32)).expect("parameters");
    let mut memory = vec![Block::new(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let (mut output, mut count) = ([0; 32], 0);
    while begun.elapsed() < within {
        let hashed =
            argon2.hash_password_into_with_memory(b"a password", b"sixteen bytes it", &mut output, &mut memory);
        hashed.expect("hashed");
        count += 1;
    }
    count
}
