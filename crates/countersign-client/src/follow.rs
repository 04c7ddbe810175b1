//! The follower: hears of keys and revocations from one replica at a time, and goes to another when that one is silent.

use std::{str::FromStr as _, sync::Arc, time::Duration};

use countersign_proto::v1::{
    self, WatchRevocationsRequest, WatchRevocationsResponse, auth_service_client::AuthServiceClient,
    revocation::Subject as Said, watch_revocations_response::Event as Told,
};
use countersign_token::{
    clock::{BootInstant, Moment},
    ids::{SessionId, UserId},
    index::Origin,
    key_set::KeySet,
    revocation::{RETENTION, Revocation, Subject},
};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    clock_ahead::ClockAhead,
    endpoints::Connection,
    error::{Error, Reason, with_reason},
    shared::{Event, Shared},
};

/// The longest time without a word from a replica: it heartbeats each second.
const SILENCE: Duration = Duration::from_secs(3);
/// Pauses between two attempts, once all replicas were tried in vain. Many clients do not come back at one moment.
const LEAST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Time by which the two clocks of this machine may run apart during a stream: more is a step, or a machine that was paused.
const APART: Duration = Duration::from_secs(1);
const CLEAN_EACH: Duration = Duration::from_secs(60);

/// A name of something that was revoked, of a kind that this version does not know: perhaps every token.
const UNKNOWN_REVOCATION: Reason = Reason::new("UNKNOWN_REVOCATION");
const KEYS_UNREADABLE: Reason = Reason::new("KEYS_UNREADABLE");
const ISSUER_MISMATCH: Reason = Reason::new("ISSUER_MISMATCH");
const CLOCK_STEPPED: Reason = Reason::new("CLOCK_STEPPED");
const SILENT: Reason = Reason::new("SILENT");
const ENDED: Reason = Reason::new("STREAM_ENDED");

/// Follows the service.
pub(crate) struct Follower {
    pub shared: Arc<Shared>,
    pub connections: Arc<[Connection]>,
    pub names: Vec<String>,
    /// The issuer that is expected; None takes that of the service.
    pub issuer: Option<String>,
    /// The last position of a stream: another one goes on from there.
    pub position: String,
    /// The newest moment as of which everything is known.
    pub complete_as_of: BootInstant,
    /// The number of the replica that is followed.
    pub place: usize,
    /// True when something was revoked that this version cannot read.
    pub poisoned: bool,
}

impl Follower {
    /// Follows until it is dropped.
    pub(crate) async fn run(mut self) {
        let count = self.connections.len();
        self.place = fastrand::usize(..count.max(1));
        let mut pause = LEAST_PAUSE;
        let mut failed = 0;
        while !self.poisoned {
            let before = self.complete_as_of;
            let connection = self.connections.get(self.place).cloned();
            let Some(connection) = connection else { return };
            let error = self.stream(connection).await.err().unwrap_or(Error::Unavailable(ENDED)).into_outage();
            let name = self.names.get(self.place).map_or("", String::as_str);
            self.shared.tell(&Event::Lost { endpoint: name, error: &error });
            tracing::debug!(endpoint = name, %error, "revocations are not followed");
            self.shared.lacks.send_if_modified(|lack| {
                let unknown = lack.is_some();
                if unknown {
                    *lack = Some(error);
                }
                unknown
            });
            self.place = (self.place + 1) % count;
            if self.complete_as_of > before {
                (failed, pause) = (0, LEAST_PAUSE);
                // All who followed a replica that has stopped do not come to the next at one moment.
                sleep(jittered(LEAST_PAUSE)).await;
                continue;
            }
            failed += 1;
            if failed % count == 0 {
                sleep(jittered(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Follows one replica until the stream ends.
    async fn stream(&mut self, connection: Connection) -> Result<(), Error> {
        let request = WatchRevocationsRequest { position: self.position.clone() };
        let began = self.shared.clock.moment();
        let mut client = AuthServiceClient::new(connection);
        let call = timeout(SILENCE, client.watch_revocations(request)).await;
        let call = call.map_err(|_| Error::Unavailable(SILENT))?;
        let mut stream = call.map_err(|status| Error::of(with_reason(status)))?.into_inner();
        let (mut heard, mut cleaned) = (Heard::new(began), Instant::now());
        loop {
            let message = timeout(SILENCE, stream.message()).await.map_err(|_| Error::Unavailable(SILENT))?;
            let Some(message) = message.map_err(|status| Error::of(with_reason(status)))? else {
                return Ok(());
            };
            self.hear(&mut heard, message)?;
            if cleaned.elapsed() > CLEAN_EACH {
                self.shared.clean();
                cleaned = Instant::now();
            }
        }
    }

    /// Takes in a message of a stream.
    pub(crate) fn hear(&mut self, heard: &mut Heard, message: WatchRevocationsResponse) -> Result<(), Error> {
        if self.poisoned {
            return Err(Error::Unavailable(UNKNOWN_REVOCATION));
        }
        // Moments are counted from when the call began: by clocks that have run apart since then they mean nothing.
        let now = self.shared.clock.moment();
        if heard.began.runs_apart(now) > APART {
            return Err(Error::Unavailable(CLOCK_STEPPED));
        }
        match message.event {
            Some(Told::Keys(keys)) => {
                self.take_keys(&keys)?;
                heard.has_keys = true;
            }
            Some(Told::Snapshot(v1::RevocationSnapshot { revocations, position })) => {
                self.apply(&revocations, position)?;
            }
            Some(Told::Additions(v1::RevocationAdditions { revocations, position })) => {
                self.apply(&revocations, position)?;
            }
            Some(Told::Heartbeat(heartbeat)) if heard.has_keys => {
                if let Some(sent_at) = heartbeat.sent_at {
                    let ahead = heard.ahead.hear(nanos(sent_at.seconds, sent_at.nanos), now);
                    self.shared.state.follow_issuer_clock(ahead);
                }
                let after = heartbeat.complete_as_of.unwrap_or_default();
                let as_of = heard.began.later_by(nanos(after.seconds, after.nanos));
                // Not later than now, whatever the service's clock does.
                self.publish(if as_of.boot() > now.boot() { now } else { as_of });
                if !std::mem::replace(&mut heard.is_complete, true) {
                    let endpoint = self.names.get(self.place).map_or("", String::as_str);
                    self.shared.tell(&Event::Following { endpoint });
                }
            }
            Some(Told::Heartbeat(_)) | None => {}
        }
        Ok(())
    }

    fn take_keys(&self, keys: &v1::SigningKeys) -> Result<(), Error> {
        if self.issuer.as_ref().is_some_and(|expected| *expected != keys.issuer) {
            return Err(Error::Unavailable(ISSUER_MISMATCH));
        }
        let set = KeySet::from_str(&keys.jwks).map_err(|_| Error::Unavailable(KEYS_UNREADABLE))?;
        self.shared.use_keys(&keys.issuer, &keys.jwks, set);
        Ok(())
    }

    fn apply(&mut self, revocations: &[v1::Revocation], position: String) -> Result<(), Error> {
        let read: Option<Vec<Revocation>> = revocations.iter().map(|it| read(it, self.shared.clock.now())).collect();
        let Some(read) = read else {
            // The contract: no token is accepted until a version runs that knows what was meant.
            self.poisoned = true;
            self.shared.state.withdraw();
            let error = Error::Unavailable(UNKNOWN_REVOCATION);
            tracing::error!("something was revoked that this version of countersign-client cannot read: update it");
            self.shared.lacks.send_replace(Some(error.clone()));
            return Err(error);
        };
        self.shared.state.apply(&read, Origin::Log);
        if !position.is_empty() {
            self.position = position;
        }
        Ok(())
    }

    /// All that was acknowledged before a moment is known.
    fn publish(&mut self, as_of: Moment) {
        // Another replica may know less: what is known is never forgotten.
        if as_of.boot() > self.complete_as_of {
            self.complete_as_of = as_of.boot();
            self.shared.state.publish(as_of);
        }
        // A heartbeat may say that too little is known.
        if self.shared.lacks.borrow().is_some() && self.shared.state.fresh(None).is_ok() {
            self.shared.lacks.send_replace(None);
        }
    }
}

/// The state of a stream: what it has said.
pub(crate) struct Heard {
    /// The moment before the call was sent.
    began: Moment,
    has_keys: bool,
    is_complete: bool,
    ahead: ClockAhead,
}

impl Heard {
    pub(crate) fn new(began: Moment) -> Self {
        Self { began, has_keys: false, is_complete: false, ahead: ClockAhead::default() }
    }
}

fn nanos(seconds: i64, nanos: i32) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos.into())
}

/// Half of a pause to all of it.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// A revocation; None for one that cannot be read.
fn read(it: &v1::Revocation, now: OffsetDateTime) -> Option<Revocation> {
    let subject = match it.subject.as_ref()? {
        Said::SessionId(id) => Subject::Session(SessionId::parse(id)?),
        Said::User(user) => Subject::User(UserId::parse(&user.user_id)?, user.least_epoch),
        Said::OpenedBefore(moment) => Subject::OpenedBefore(u64::try_from(moment.seconds).ok()?),
    };
    let expires_at = it.expires_at.and_then(|at| OffsetDateTime::from_unix_timestamp(at.seconds).ok());
    // A second later: what it has beyond whole seconds is not lost.
    let expires_at = expires_at.map_or(now + RETENTION, |at| at.saturating_add(time::Duration::SECOND));
    Some(Revocation { subject, expires_at })
}
