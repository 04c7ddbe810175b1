//! What a password hash may cost and has to, and the cost that takes a given time. Measuring is `cli/hash.rs`.

use std::time::Duration;

use super::password::HashCost;

/// What OWASP's Password Storage Cheat Sheet asks of argon2id at least: memory in KiB, and iterations. Most memory first.
pub const LEAST_COSTS: [(u32, u32); 5] = [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)];
/// The most memory of a hash, in KiB.
pub const MOST_MEMORY: u32 = 262_144;
/// The most iterations of a hash.
pub const MOST_ITERATIONS: u32 = 16;
/// Memory is proposed in steps of so many KiB.
const STEP: u32 = 1024;

/// What a hash of some cost took.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Its cost.
    pub cost: HashCost,
    /// The time of one.
    pub time: Duration,
}

/// The cost of a hash that takes `target`, as `sample` lets expect: time grows with memory times iterations. Memory is
/// what makes guessing dear (RFC 9106 section 4), so as much of it as fits, and iterations once it is at its most. The
/// cheapest cost that OWASP allows if even that takes longer.
pub fn cost_for(target: Duration, sample: Sample) -> HashCost {
    let HashCost { memory, iterations, lanes } = sample.cost;
    let work = u128::from(memory) * u128::from(iterations);
    // Without a time, no work is too much.
    let affordable = (work * target.as_nanos()).checked_div(sample.time.as_nanos()).unwrap_or(u128::MAX);
    let capped = affordable / u128::from(MOST_MEMORY);
    if capped > 1 {
        let iterations = u32::try_from(capped).unwrap_or(MOST_ITERATIONS).min(MOST_ITERATIONS);
        return HashCost { memory: MOST_MEMORY, iterations, lanes };
    }
    let mut cheapest = sample.cost;
    for (least, iterations) in LEAST_COSTS {
        let each = u32::try_from(affordable / u128::from(iterations)).unwrap_or(MOST_MEMORY).min(MOST_MEMORY);
        let memory = each / STEP * STEP;
        if memory >= least {
            return HashCost { memory, iterations, lanes };
        }
        cheapest = HashCost { memory: least, iterations, lanes };
    }
    cheapest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r50_memory_comes_first_then_iterations_and_never_less_than_owasp_asks() {
        let cost = HashCost { memory: 20_480, iterations: 2, lanes: 1 };
        // 40 MiB of work in 40 ms: a millisecond for each.
        let sample = Sample { cost, time: Duration::from_millis(40) };
        for (target, memory, iterations) in [
            (1, 7_168, 5),
            (35, 7_168, 5),
            (36, 12_288, 3),
            (38, 19_456, 2),
            (45, 22_528, 2),
            (46, 47_104, 1),
            (100, 102_400, 1),
            (256, 262_144, 1),
            (511, 262_144, 1),
            (512, 262_144, 2),
            (3_000, 262_144, 11),
            (1_000_000, 262_144, 16),
        ] {
            let chosen = cost_for(Duration::from_millis(target), sample);
            assert_eq!(chosen, HashCost { memory, iterations, lanes: 1 }, "{target} ms");
        }
    }

    #[test]
    fn r50_a_clock_that_saw_no_time_pass_asks_for_the_most() {
        let cost = HashCost { memory: 19_456, iterations: 2, lanes: 1 };
        let chosen = cost_for(Duration::from_millis(250), Sample { cost, time: Duration::ZERO });
        assert_eq!((chosen.memory, chosen.iterations), (MOST_MEMORY, MOST_ITERATIONS));
    }
}
