//! The cost of a password hash: its bounds, and the cost that takes a given time. Measuring is `cli/hash.rs`.

use std::time::Duration;

use super::password::HashCost;

/// Least costs of argon2id in OWASP's Password Storage Cheat Sheet: memory in KiB, and iterations. Most memory first.
pub const LEAST_COSTS: [(u32, u32); 5] = [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)];
/// The least memory that OWASP asks for, with the most iterations, in KiB.
pub const LEAST_MEMORY: u32 = {
    let [.., (memory, _)] = LEAST_COSTS;
    memory
};
/// The cost of a new hash unless a setting says otherwise.
pub const DEFAULT_COST: HashCost = HashCost { memory: 19_456, iterations: 2, lanes: 1 };
/// The most memory of a hash, in KiB. This and the next two bound settings, and what a stored hash may cost: a poisoned row
/// cannot stop the service.
pub const MOST_MEMORY: u32 = 262_144;
/// The most iterations of a hash.
pub const MOST_ITERATIONS: u32 = 16;
/// The most lanes of a hash.
pub const MOST_LANES: u32 = 8;
/// Memory is proposed in steps of so many KiB.
const STEP: u32 = 1024;

/// The measured times of a hash of some cost.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The cost of the hash.
    pub cost: HashCost,
    /// The time of one: the median.
    pub time: Duration,
    /// Between which times the middle half is.
    pub middle: (Duration, Duration),
}

impl Sample {
    /// A sample from the times of single hashes, of which one at least is needed.
    pub fn of(cost: HashCost, mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let at = |quarter: usize| times.get((times.len().saturating_sub(1)) * quarter / 4).copied();
        Some(Self { cost, time: at(2)?, middle: (at(1)?, at(3)?) })
    }

    /// True if the times differ by more than on a machine that does nothing else.
    pub fn scatters(&self) -> bool {
        self.middle.1 > self.middle.0.mul_f64(1.25)
    }
}

/// The cheapest cost that OWASP allows if a hash may take so many KiB at most.
pub fn least_within(most_memory: u32, lanes: u32) -> Option<HashCost> {
    let (memory, iterations) = LEAST_COSTS.into_iter().rfind(|(least, _)| *least <= most_memory)?;
    Some(HashCost { memory, iterations, lanes })
}

/// The cost of a hash that takes `target`, as `sample` lets expect: time grows with memory times iterations. Memory is
/// what makes guessing expensive (RFC 9106 section 4). So as much of it is used as fits, and iterations once it is at
/// its most, which is `most_memory` KiB. The cheapest cost that OWASP allows if even that takes longer; that of the
/// sample if none fits.
pub fn cost_for(target: Duration, sample: Sample, most_memory: u32) -> HashCost {
    let HashCost { memory, iterations, lanes } = sample.cost;
    let work = u128::from(memory) * u128::from(iterations);
    // Without a time, no work is too much.
    let affordable = (work * target.as_nanos()).checked_div(sample.time.as_nanos()).unwrap_or(u128::MAX);
    let within = |most: u32, divisor: u32| u32::try_from(affordable / u128::from(divisor)).unwrap_or(most).min(most);
    let most = most_memory.min(MOST_MEMORY) / STEP * STEP;
    for (least, iterations) in LEAST_COSTS.into_iter().filter(|(least, _)| *least <= most) {
        let memory = within(most, iterations) / STEP * STEP;
        if memory >= least {
            let more = if memory == most { within(MOST_ITERATIONS, memory) } else { 0 };
            return HashCost { memory, iterations: iterations.max(more), lanes };
        }
    }
    least_within(most, lanes).unwrap_or(sample.cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r50_memory_comes_first_then_iterations_and_never_less_than_owasp_asks() {
        let cost = HashCost { memory: 20_480, iterations: 2, lanes: 1 };
        // 40 MiB of work in 40 ms: a millisecond for each.
        let sample = Sample::of(cost, vec![Duration::from_millis(40)]).expect("a time");
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
            let chosen = cost_for(Duration::from_millis(target), sample, u32::MAX);
            assert_eq!(chosen, HashCost { memory, iterations, lanes: 1 }, "{target} ms");
        }
    }

    #[test]
    fn r50_a_clock_that_saw_no_time_pass_asks_for_the_most() {
        let cost = HashCost { memory: 19_456, iterations: 2, lanes: 1 };
        let sample = Sample::of(cost, vec![Duration::ZERO]).expect("a time");
        let chosen = cost_for(Duration::from_millis(250), sample, u32::MAX);
        assert_eq!((chosen.memory, chosen.iterations), (MOST_MEMORY, MOST_ITERATIONS));
    }

    #[test]
    fn r50_no_more_memory_than_there_is_and_no_less_than_owasp_asks_with_it() {
        let cost = HashCost { memory: 20_480, iterations: 2, lanes: 1 };
        let sample = Sample::of(cost, vec![Duration::from_millis(40)]).expect("a time");
        for (most, target, expected) in [
            (102_400, 250, (102_400, 2)),
            (50_000, 250, (49_152, 5)),
            (40_000, 30, (7_168, 5)),
            (10_500, 45, (10_240, 4)),
            (10_500, 250, (10_240, 16)),
            (10_500, 35, (7_168, 5)),
            (7_168, 1, (7_168, 5)),
        ] {
            let chosen = cost_for(Duration::from_millis(target), sample, most);
            assert_eq!((chosen.memory, chosen.iterations), expected, "{most} KiB, {target} ms");
        }
        assert_eq!(least_within(20_000, 1).map(|cost| cost.memory), Some(7_168));
        assert_eq!(least_within(7_167, 1), None);
    }

    #[test]
    fn a_sample_is_the_median_and_says_when_the_times_scatter() {
        let of = |times: [u64; 5]| {
            let cost = HashCost { memory: 19_456, iterations: 2, lanes: 1 };
            Sample::of(cost, times.into_iter().map(Duration::from_millis).collect()).expect("times")
        };
        let quiet = of([20, 500, 21, 20, 22]);
        assert_eq!((quiet.time, quiet.scatters()), (Duration::from_millis(21), false), "one that was stopped");
        let busy = of([20, 60, 40, 20, 35]);
        assert_eq!((busy.time, busy.scatters()), (Duration::from_millis(35), true));
        assert!(Sample::of(busy.cost, vec![]).is_none());
    }
}
