//! Password hashing: argon2id on threads of its own (`hash_worker.rs`), each with memory that it keeps, behind a bounded
//! queue. Work that cannot be done before its caller's deadline is refused at once. So a login storm takes neither the async
//! threads nor more memory than threads times the cost (promise P5).
//!
//! A name that does not exist costs one hash of the same parameters (promise P6).

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::Ordering,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use arc_swap::ArcSwap;
use argon2::Params;
use tokio::{sync::oneshot, time::Instant};

use super::{
    foreign_hash::is_foreign,
    hash_job::{HASH_TIME, Job, Load, Task},
    hash_worker::Worker,
    pepper::Peppers,
    phc::{self, OUTPUT_BYTES, SALT_BYTES, keyid},
    random,
};
use crate::{
    domain::{
        password::{HashCost, Password},
        password_hash::{PasswordHash, Verdict},
        policy::HashPolicy,
    },
    error::Error,
    metrics::Hashing,
    trace::Child,
};

/// Hands passwords to the hashing threads.
pub struct PasswordHasher {
    queue: SyncSender<Job>,
    load: Arc<Load>,
    threads: usize,
    /// Number of jobs that may wait.
    size: usize,
    params: Params,
    dummy: PasswordHash,
    peppers: ArcSwap<Peppers>,
}

impl PasswordHasher {
    /// Starts the threads. They end when the hasher is dropped.
    ///
    /// # Errors
    /// [`Error::Internal`] when a thread cannot be started.
    pub fn start(policy: HashPolicy) -> Result<Self, Error> {
        let HashCost { memory, iterations, lanes } = policy.cost;
        let params = Params::new(memory, iterations, lanes, Some(OUTPUT_BYTES))
            .map_err(|error| Error::internal(error.to_string()))?;
        let (queue, jobs) = sync_channel(policy.queue);
        let (jobs, load) = (Arc::new(Mutex::new(jobs)), Arc::new(Load::default()));
        for _ in 0..policy.threads {
            let (jobs, load, params) = (Arc::clone(&jobs), Arc::clone(&load), params.clone());
            let worker = Worker { jobs, load, params, memory: Vec::new() };
            thread::Builder::new().name("password".to_owned()).spawn(move || worker.run()).map_err(Error::internal)?;
        }
        // Random instead of a hash: no password matches it.
        let dummy = phc::write(&params, &random::bytes::<SALT_BYTES>()?, &random::bytes::<OUTPUT_BYTES>()?)?;
        let threads = policy.threads.max(1);
        Ok(Self { queue, load, threads, size: policy.queue, params, dummy, peppers: ArcSwap::default() })
    }

    /// Takes over the peppers as they are now.
    pub fn use_peppers(&self, peppers: Peppers) {
        self.peppers.store(Arc::new(peppers));
    }

    /// True if a stored hash has no pepper, or one that has been heard of here.
    pub fn knows_pepper_of(&self, stored: &PasswordHash) -> bool {
        // What cannot be read needs none.
        keyid(stored).ok().flatten().is_none_or(|keyid| self.peppers.load().knows(&keyid))
    }

    /// Hashes a new password under the current policy.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when the queue is full, or too long to be done by `until`; [`Error::KeyUnusable`] when the pepper
    /// of new hashes cannot be used here.
    pub async fn hash(&self, password: Password, until: Option<Instant>) -> Result<PasswordHash, Error> {
        let (reply, answer) = oneshot::channel();
        let pepper = self.peppers.load().active()?;
        self.enqueue(Task::Hash(password, pepper, reply), until)?;
        answer.await.map_err(|_| Error::ShuttingDown)?
    }

    /// Checks a password against a stored hash; against a dummy of equal cost if there is none.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when the queue is full, or too long to be done by `until`. [`Error::Internal`] for a
    /// stored hash that cannot be read, costs more than is allowed or needs a pepper that is not known.
    /// [`Error::KeyUnusable`] when its pepper cannot be used here.
    pub async fn verify(
        &self,
        password: Password,
        stored: Option<&PasswordHash>,
        until: Option<Instant>,
    ) -> Result<Verdict, Error> {
        let hash = stored.unwrap_or(&self.dummy).clone();
        let pepper = keyid(&hash)?.map(|keyid| self.peppers.load().find(&keyid)).transpose()?;
        let (reply, answer) = oneshot::channel();
        self.enqueue(Task::Verify(password, hash, pepper, reply), until)?;
        answer.await.map_err(|_| Error::ShuttingDown)?
    }

    /// True if a stored hash is to be replaced by one of today's cost and pepper, or is another system's, however strong.
    pub fn is_outdated(&self, stored: &PasswordHash) -> bool {
        let today = |keyid: Option<String>| keyid.as_deref() == self.peppers.load().active_kid();
        let is_ours = !is_foreign(stored.as_str());
        !is_ours || phc::is_outdated(stored, &self.params) || !keyid(stored).is_ok_and(today)
    }

    /// Checks that work which has to be done by `until` may be queued now. That is judged by the length of the queue
    /// and the time that a hash took lately.
    ///
    /// # Errors
    /// [`Error::Overloaded`]; [`Error::DeadlineExceeded`] when it has passed.
    pub fn check_capacity(&self, until: Option<Instant>) -> Result<(), Error> {
        let waiting = self.load.waiting.load(Ordering::Relaxed);
        let rounds = u32::try_from(waiting / self.threads).unwrap_or(u32::MAX);
        let wait = self.load.time().saturating_mul(rounds);
        let overloaded = Error::Overloaded { retry_after: wait.max(HASH_TIME) };
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let fits = match left {
            Some(left) if left.is_zero() => return Err(Error::DeadlineExceeded),
            // What is measured may be wrong by now: an idle thread always tries.
            _ if waiting == 0 => true,
            _ if waiting >= self.size => false,
            Some(left) => left >= wait + self.load.time(),
            None => true,
        };
        if !fits {
            self.load.shed();
            return Err(overloaded);
        }
        Ok(())
    }

    /// Number of hashes that have been computed since the start.
    pub fn hashes(&self) -> u64 {
        self.load.hashes.load(Ordering::Relaxed)
    }

    /// Number of passwords that wait.
    pub fn waiting(&self) -> usize {
        self.load.waiting.load(Ordering::Relaxed)
    }

    /// Records from now on what the threads do.
    pub fn measure(&self, metrics: Hashing) {
        self.load.metrics.get_or_init(|| metrics);
    }

    fn enqueue(&self, task: Task, until: Option<Instant>) -> Result<(), Error> {
        self.check_capacity(until)?;
        self.load.waiting.fetch_add(1, Ordering::Relaxed);
        let span = Child::begin("password hash");
        self.queue.try_send(Job { task, until, queued_at: Instant::now(), span }).map_err(|error| {
            let waiting = self.load.waiting.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => {
                    self.load.shed();
                    let rounds = u32::try_from(waiting / self.threads).unwrap_or(u32::MAX);
                    Error::Overloaded { retry_after: self.load.time().saturating_mul(rounds.max(1)) }
                }
                TrySendError::Disconnected(_) => Error::ShuttingDown,
            }
        })
    }
}

impl fmt::Debug for PasswordHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHasher(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zeroize::Zeroizing;

    use super::*;
    use crate::crypto::{
        pepper::{Pepper, PepperKey},
        signing_key::KeyMaterial,
    };

    const COST: HashCost = HashCost { memory: 19_456, iterations: 2, lanes: 1 };
    const POLICY: HashPolicy = HashPolicy { threads: 1, queue: 4, cost: COST };

    fn password(text: &str) -> Password {
        Password::parse("password", text).expect("valid")
    }

    #[tokio::test]
    async fn r50_a_hash_is_argon2id_of_owasp_strength_and_matches_its_password_alone() {
        let hasher = PasswordHasher::start(POLICY).expect("started");
        let hash = hasher.hash(password("right"), None).await.expect("hashed");
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        for (text, verdict) in [("right", Verdict::Right), ("Right", Verdict::Wrong), ("r", Verdict::Wrong)] {
            assert_eq!(hasher.verify(password(text), Some(&hash), None).await.expect("checked"), verdict);
        }
        let again = hasher.hash(password("right"), None).await.expect("hashed");
        assert_ne!(again, hash, "salted");
    }

    #[tokio::test]
    async fn p6_a_missing_user_costs_a_hash_of_the_same_parameters() {
        let hasher = PasswordHasher::start(POLICY).expect("started");
        let real = hasher.hash(password("right"), None).await.expect("hashed");
        let parameters = |hash: &PasswordHash| hash.as_str().rsplitn(3, '$').nth(2).map(str::to_owned);
        assert_eq!(parameters(&hasher.dummy), parameters(&real));
        let before = hasher.hashes();
        assert_eq!(hasher.verify(password("right"), None, None).await.expect("checked"), Verdict::Wrong);
        assert_eq!(hasher.hashes(), before + 1);
    }

    #[tokio::test]
    async fn r50_a_stored_hash_that_is_damaged_or_too_costly_is_not_computed() {
        let hasher = PasswordHasher::start(POLICY).expect("started");
        let salt_and_hash = "c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
        for bad in [
            String::new(),
            "plain text".into(),
            format!("$bcrypt$v=1$m=8,t=1,p=1${salt_and_hash}"),
            format!("$argon2id$v=19$m=4194304,t=2,p=1${salt_and_hash}"),
            format!("$argon2id$v=19$m=19456,t=4000000,p=1${salt_and_hash}"),
            format!("$argon2id$v=19$m=19456,t=2,p=1000${salt_and_hash}"),
            "$argon2id$v=19$m=19456,t=2,p=1".into(),
        ] {
            let stored = PasswordHash::from_stored(bad.clone());
            let result = hasher.verify(password("right"), Some(&stored), None).await;
            assert!(matches!(result, Err(Error::Internal(_))), "{bad}");
        }
        assert_eq!(hasher.hashes(), 0);
    }

    const KID: &str = "AAECAwQFBgc";

    /// Each is ours and has a secret of its own, but for the last, which does not open. New hashes are made with the first.
    fn peppers(kids: [&str; 3]) -> Peppers {
        let [active, other, closed] = kids.map(str::to_owned);
        let key = |kid: &str| {
            let private = Zeroizing::new(kid.bytes().cycle().take(32).collect());
            PepperKey::Key(Arc::new(Pepper::parse(KeyMaterial { kid: kid.to_owned(), private }).expect("a pepper")))
        };
        let mut peppers = Peppers::default();
        for kid in [&active, &other] {
            peppers.insert(kid.clone(), key(kid));
        }
        peppers.insert(closed, PepperKey::Unusable);
        peppers.set_active(active);
        peppers
    }

    #[tokio::test]
    async fn r50_a_hash_with_a_pepper_names_it_and_is_checked_with_no_other() {
        let hasher = PasswordHasher::start(POLICY).expect("started");
        let plain = hasher.hash(password("right"), None).await.expect("hashed");
        hasher.use_peppers(peppers([KID, "AAAAAAAAAAA", "//////////8"]));
        let hash = hasher.hash(password("right"), None).await.expect("hashed");
        let prefix = format!("$argon2id$v=19$m=19456,t=2,p=1,keyid={KID}$");
        assert!(hash.as_str().starts_with(&prefix) && phc::is_peppered(&hash), "{}", hash.as_str());
        for (stored, verdict) in [
            (hash.as_str().to_owned(), Verdict::Right),
            (hash.as_str().replace(KID, "AAAAAAAAAAA"), Verdict::Wrong),
            (hash.as_str().replace(&format!(",keyid={KID}"), ""), Verdict::Wrong),
            (plain.as_str().to_owned(), Verdict::Right),
        ] {
            let stored = PasswordHash::from_stored(stored);
            assert_eq!(hasher.verify(password("right"), Some(&stored), None).await.expect("checked"), verdict);
        }
        assert!(!hasher.is_outdated(&hash) && hasher.is_outdated(&plain));
        hasher.use_peppers(peppers(["AAAAAAAAAAA", KID, "//////////8"]));
        assert!(hasher.is_outdated(&hash), "rotated");
        assert_eq!(hasher.verify(password("right"), Some(&hash), None).await.expect("checked"), Verdict::Right);
    }

    #[tokio::test]
    async fn p4_a_hash_whose_pepper_is_missing_or_cannot_be_read_is_not_called_wrong() {
        let hasher = PasswordHasher::start(POLICY).expect("started");
        let stored = |keyid: &str| {
            let hash = "c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";
            PasswordHash::from_stored(format!("$argon2id$v=19$m=19456,t=2,p=1,{keyid}${hash}"))
        };
        let check = async |keyid: &str| {
            let checked = hasher.verify(password("right"), Some(&stored(keyid)), None).await;
            checked.expect_err("not decided").to_string()
        };
        let named = format!("keyid={KID}");
        assert!(check(&named).await.contains("needs pepper AAECAwQFBgc, which is not stored"));
        assert!(!hasher.knows_pepper_of(&stored(&named)));
        hasher.use_peppers(peppers(["AAAAAAAAAAA", "BBBBBBBBBBA", KID]));
        assert_eq!(check(&named).await, "a key that is needed cannot be used here");
        assert!(hasher.knows_pepper_of(&stored(&named)), "no other replica has another");
        for (bad, says) in [
            ("keyid=AAECAwQFBgcICQ", "keyid"),
            ("keyid=AAECAwQFBgc=", "cannot be read"),
            ("keyid=A", "keyid"),
            ("keyid=", "needs pepper"),
            ("pepper=AAECAwQFBgc", "parameters"),
        ] {
            let error = check(bad).await;
            assert!(error.contains(says) && error.contains("stored password hash"), "{bad}: {error}");
        }
        assert_eq!(hasher.hashes(), 0);
    }

    #[tokio::test]
    async fn a_pepper_that_does_not_open_makes_no_hashes() {
        let hasher = PasswordHasher::start(POLICY).expect("started");
        let mut peppers = peppers(["AAAAAAAAAAA", "BBBBBBBBBBA", KID]);
        peppers.set_active(KID.to_owned());
        hasher.use_peppers(peppers);
        assert!(matches!(hasher.hash(password("right"), None).await, Err(Error::KeyUnusable)));
    }

    #[tokio::test]
    async fn r50_a_pepper_lifts_no_cap_on_cost() {
        let hasher = PasswordHasher::start(POLICY).expect("started");
        hasher.use_peppers(peppers([KID, "AAAAAAAAAAA", "//////////8"]));
        let hash = "c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";
        for cost in ["m=262145,t=2,p=1", "m=19456,t=17,p=1", "m=19456,t=2,p=9"] {
            let stored = PasswordHash::from_stored(format!("$argon2id$v=19${cost},keyid={KID}${hash}"));
            let checked = hasher.verify(password("right"), Some(&stored), None).await;
            assert!(matches!(checked, Err(Error::Internal(_))), "{cost}");
        }
        assert_eq!(hasher.hashes(), 0);
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_dropped_before_hashing() {
        let hasher = PasswordHasher::start(POLICY).expect("started");
        let (gone, answer) = oneshot::channel();
        drop(answer);
        hasher.enqueue(Task::Hash(password("right"), None, gone), None).expect("room");
        hasher.hash(password("right"), None).await.expect("hashed");
        assert_eq!(hasher.hashes(), 1);
    }

    #[tokio::test]
    async fn p5_work_that_cannot_be_done_in_time_is_refused_before_it_is_queued() {
        let hasher = PasswordHasher::start(HashPolicy { queue: 100, ..POLICY }).expect("started");
        hasher.hash(password("right"), None).await.expect("measured");
        let late = hasher.verify(password("right"), None, Some(Instant::now())).await;
        assert!(matches!(late, Err(Error::DeadlineExceeded)), "{late:?}");
        assert_eq!(hasher.hashes(), 1);
        // Ten hashes in the queue: not even the last of them is waited for by who has the time of five.
        hasher.load.waiting.fetch_add(10, Ordering::Relaxed);
        let time = hasher.load.time();
        let late = hasher.check_capacity(Some(Instant::now() + time * 5));
        assert!(matches!(late, Err(Error::Overloaded { retry_after }) if retry_after >= time), "{late:?}");
        assert!(hasher.check_capacity(Some(Instant::now() + time * 100)).is_ok());
        hasher.load.waiting.fetch_sub(10, Ordering::Relaxed);
    }

    #[tokio::test]
    async fn p5_work_beyond_the_queue_is_refused() {
        // So slow that none is done meanwhile.
        let cost = HashCost { memory: 65_536, iterations: 16, lanes: 1 };
        let hasher = PasswordHasher::start(HashPolicy { queue: 2, cost, ..POLICY }).expect("started");
        let mut answers = Vec::new();
        let mut enqueue = || {
            let (reply, answer) = oneshot::channel();
            answers.push(answer);
            hasher.enqueue(Task::Hash(password("right"), None, reply), None)
        };
        // The thread may have taken the first.
        let accepted: Vec<bool> = (0..4).map(|_| enqueue().is_ok()).collect();
        assert!(matches!(accepted[..], [true, true, _, false]), "{accepted:?}");
        // Nor may those be queued who were admitted side by side for the last place.
        let waiting = hasher.load.waiting.swap(0, Ordering::Relaxed);
        let refused = enqueue();
        hasher.load.waiting.fetch_add(waiting, Ordering::Relaxed);
        assert!(matches!(refused, Err(Error::Overloaded { retry_after }) if !retry_after.is_zero()), "{refused:?}");
    }

    #[tokio::test]
    async fn p5_a_pause_in_the_middle_of_a_hash_shuts_nobody_out() {
        let hasher = PasswordHasher::start(POLICY).expect("started");
        for _ in 0..100 {
            hasher.load.took(Duration::from_secs(60));
        }
        let soon = Instant::now() + Duration::from_secs(5);
        assert!(hasher.check_capacity(Some(soon)).is_ok(), "an idle thread tries");
        hasher.load.time.store(15_000_000, Ordering::Relaxed);
        hasher.load.took(Duration::from_secs(60));
        assert!(hasher.load.time() < Duration::from_millis(30), "one sample counts little");
    }

    #[tokio::test]
    async fn r50_a_hash_below_the_policy_is_outdated_and_one_above_is_not() {
        let hasher = PasswordHasher::start(POLICY).expect("started");
        let (salt, hash) = ("A".repeat(22), "A".repeat(43));
        for (stored, outdated) in [
            ("$argon2id$v=19$m=19456,t=2,p=1", false),
            ("$argon2id$v=19$m=65536,t=3,p=4", false),
            ("$argon2id$v=19$m=19455,t=2,p=1", true),
            ("$argon2id$v=19$m=65536,t=1,p=1", false),
            ("$argon2id$v=19$m=38911,t=1,p=1", true),
            ("$argon2i$v=19$m=65536,t=3,p=4", true),
            ("$argon2id$v=16$m=65536,t=3,p=4", true),
            ("$2b$12", true),
        ] {
            let stored = PasswordHash::from_stored(format!("{stored}${salt}${hash}"));
            assert_eq!(hasher.is_outdated(&stored), outdated, "{}", stored.as_str());
        }
        // Django's and Kratos' lengths, and one that PHP made.
        for (before, salt, hash) in [("", 30, 43), ("", 22, 22), ("typed:", 22, 43)] {
            let (salt, hash) = ("A".repeat(salt), "A".repeat(hash));
            let stored = PasswordHash::from_stored(format!("{before}$argon2id$v=19$m=65536,t=3,p=4${salt}${hash}"));
            assert!(hasher.is_outdated(&stored), "however strong: {}", stored.as_str());
        }
    }
}
