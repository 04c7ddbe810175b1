//! The search: breadth first, so that the first violation has the shortest trace. A state is known by 128 bits of digest of
//! its canonical form; of what was seen only that and the way there are kept. Nothing here knows what is explored.

use std::{
    collections::{HashMap, HashSet},
    fmt::Display,
    hash::{BuildHasherDefault, Hash, Hasher},
};

/// What can be explored.
pub(crate) trait Model {
    /// Equal for states that behave alike.
    type State: Clone + Hash;
    /// One line of a trace.
    type Step: Display;

    fn starts(&self) -> Vec<Self::State>;
    /// Always in the same order.
    fn steps(&self, from: &Self::State) -> Vec<(Self::Step, Self::State)>;
    fn violated(&self, state: &Self::State) -> Option<&'static str>;
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub states: usize,
    /// The number of steps up to which every state was walked.
    pub depth: usize,
    /// Whether there was nothing left to walk.
    pub complete: bool,
    pub violation: Option<Violation>,
}

/// A property that does not hold, and the shortest way to see it.
#[derive(Debug)]
pub(crate) struct Violation {
    pub property: &'static str,
    pub trace: Vec<String>,
}

/// Walks every state that can be reached, up to about `most` of them, until a property is violated.
pub(crate) fn search<M: Model>(model: &M, most: usize) -> Found {
    let mut seen = Seen::default();
    let mut layer = Vec::new();
    for (nth, state) in model.starts().into_iter().enumerate() {
        if seen.is_new(&state, None, nth) {
            layer.push((seen.last(), state));
        }
    }
    let mut depth = 0;
    while !layer.is_empty() && seen.ways.len() <= most {
        let mut next = Vec::new();
        for (at, state) in layer {
            if let Some(property) = model.violated(&state) {
                let violation = Some(Violation { property, trace: seen.trace(model, at) });
                return Found { states: seen.ways.len(), depth, complete: false, violation };
            }
            for (nth, (_, state)) in model.steps(&state).into_iter().enumerate() {
                if seen.is_new(&state, Some(at), nth) {
                    next.push((seen.last(), state));
                }
            }
        }
        layer = next;
        depth += 1;
    }
    Found { states: seen.ways.len(), depth, complete: layer.is_empty(), violation: None }
}

/// Whether from every state that is `due` one can be reached that is `good`, if only steps are taken that `may` be: how many
/// states there are, how many are due, and the way to the first that is stuck.
pub(crate) fn stuck<M: Model>(model: &M, predicates: Progress<M>, most: usize) -> (usize, usize, Option<Vec<String>>) {
    let mut seen = Seen::default();
    let mut numbers: HashMap<u128, u32> = HashMap::new();
    let mut queue: Vec<M::State> = Vec::new();
    let (mut back, mut due, mut good) = (Vec::<(u32, u32)>::new(), Vec::new(), Vec::new());
    for (nth, state) in model.starts().into_iter().enumerate() {
        if seen.is_new(&state, None, nth) {
            numbers.insert(digest(&state), seen.last());
            queue.push(state);
        }
    }
    let mut at = 0;
    while at < queue.len() {
        assert!(queue.len() <= most, "too many states");
        let state = queue[at].clone();
        due.push((predicates.due)(&state));
        good.push((predicates.good)(&state));
        for (nth, (step, state)) in model.steps(&state).into_iter().enumerate() {
            if seen.is_new(&state, Some(at as u32), nth) {
                numbers.insert(digest(&state), seen.last());
                queue.push(state.clone());
            }
            if (predicates.may)(&step) {
                back.push((numbers[&digest(&state)], at as u32));
            }
        }
        at += 1;
    }
    spread(&mut good, back);
    let first = (0..at).find(|at| due[*at] && !good[*at]);
    (at, due.iter().filter(|due| **due).count(), first.map(|at| seen.trace(model, at as u32)))
}

/// What [`stuck`] asks.
pub(crate) struct Progress<M: Model> {
    pub due: fn(&M::State) -> bool,
    pub good: fn(&M::State) -> bool,
    pub may: fn(&M::Step) -> bool,
}

/// Marks what a marked state can be reached from.
fn spread(good: &mut [bool], mut back: Vec<(u32, u32)>) {
    back.sort_unstable();
    let mut queue: Vec<u32> = (0..good.len() as u32).filter(|at| good[*at as usize]).collect();
    while let Some(to) = queue.pop() {
        let first = back.partition_point(|edge| edge.0 < to);
        for (_, from) in back[first..].iter().take_while(|edge| edge.0 == to) {
            if !std::mem::replace(&mut good[*from as usize], true) {
                queue.push(*from);
            }
        }
    }
}

const NONE: u32 = u32::MAX;

#[derive(Default)]
struct Seen {
    digests: HashSet<u128, BuildHasherDefault<Digested>>,
    /// For each state the one before, and which of its steps leads here.
    ways: Vec<(u32, u8)>,
}

impl Seen {
    fn is_new<S: Hash>(&mut self, state: &S, before: Option<u32>, nth: usize) -> bool {
        let new = self.digests.insert(digest(state));
        if new {
            self.ways.push((before.unwrap_or(NONE), u8::try_from(nth).expect("few steps")));
        }
        new
    }

    fn last(&self) -> u32 {
        u32::try_from(self.ways.len() - 1).expect("fewer than four thousand millions")
    }

    /// The steps to a state, taken once more.
    fn trace<M: Model>(&self, model: &M, mut at: u32) -> Vec<String> {
        let mut choices = Vec::new();
        while at != NONE {
            let (before, nth) = self.ways[at as usize];
            choices.push(usize::from(nth));
            at = before;
        }
        let mut choices = choices.into_iter().rev();
        let mut state = model.starts().swap_remove(choices.next().expect("a start"));
        let mut lines = Vec::new();
        for nth in choices {
            let (step, next) = model.steps(&state).swap_remove(nth);
            lines.push(step.to_string());
            state = next;
        }
        lines
    }
}

fn digest<S: Hash>(state: &S) -> u128 {
    let mut digest = Digest(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344);
    state.hash(&mut digest);
    u128::from(digest.finish()) << 64 | u128::from(digest.1)
}

/// Two independent halves, each folded from a product of 128 bits for every word.
struct Digest(u64, u64);

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        fold(self.0 ^ self.1.rotate_left(32), 0x9e37_79b9_7f4a_7c15)
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word) ^ (part.len() as u64) << 60);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word, 0xa076_1d64_78bd_642f) ^ word;
        self.1 = fold(self.1.rotate_left(23) ^ word, 0xe703_7ed1_a0b4_28db).wrapping_add(word);
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
}

/// Takes what is a digest already.
#[derive(Default)]
struct Digested(u64);

impl Hasher for Digested {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only digests are kept");
    }

    fn write_u128(&mut self, digest: u128) {
        self.0 = digest as u64;
    }
}
