"""The load, and the truth: every answer is held against what the load itself knows of each session.

Moments are of the monotonic clock. A call is judged by when it began if it accepts, and by when it ended if it denies: what
was revoked meanwhile may be answered either way.
"""

import random
import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import grpc

from reflected import read

LOGIN, WRONG_LOGIN, VERIFY, VERIFY_DEAD = "Login", "Login, wrong password", "Verify, live", "VerifyBatch, ended"
REFRESH, REVOKE, CONFIRMED = "Refresh", "Revoke", "Revoke, confirmed"
CALLS = (LOGIN, WRONG_LOGIN, VERIFY, VERIFY_DEAD, REFRESH, REVOKE, CONFIRMED)

REFUSALS = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
# Longer than the service waits for its database, so that its own answer comes first.
DEADLINE = 5
USERS, FIRST, FEWEST, MOST = 4, 40, 10, 300
TOKEN_REVOKED = 4
# Wrong answers that are printed at once; the tables count all.
MOST_TOLD = 20


@dataclass(eq=False)
class Session:
    id: str
    refresh: str
    access: list
    opened: float
    busy: bool = False
    # When a Revoke was first sent; when each replica answered one; from when on nobody may accept.
    revoking: float | None = None
    ended: dict = field(default_factory=dict)
    dead: float = float("inf")

    def is_over(self, replica, at):
        return at >= self.dead or at >= self.ended.get(replica, float("inf"))

    def __str__(self):
        dead = f"{self.dead:.3f}" if self.dead < float("inf") else "-"
        ended = {name: round(at, 3) for name, at in self.ended.items()}
        revoking = f"{self.revoking:.3f}" if self.revoking else "-"
        return f"session {self.id}: opened {self.opened:.3f}, revoking {revoking}, answered {ended}, dead {dead}"


@dataclass(frozen=True)
class Event:
    call: str
    replica: str
    began: float
    ended: float
    outcome: str  # ok, refused, wrong
    reason: str


class Load:
    """Threads that call each replica, one for each kind of call."""

    def __init__(self, replicas, admin_token):
        self.replicas = replicas
        self.lock = threading.Lock()
        self.events, self.live, self.ended = [], [], []
        self.told = 0
        self.stopping = threading.Event()
        self.admins = {replica.name: replica.new_client(admin_token) for replica in replicas}
        self.users = [(f"user-{secrets.token_hex(6)}", secrets.token_hex(12)) for _ in range(USERS)]
        for client in (*self.admins.values(), *(replica.client for replica in replicas)):
            client.method("Login")  # reads all that reflection says, which threads must not do side by side
        for name, password in self.users:
            self.admins[replicas[0].name].call("CreateUser", username=name, password=password)
        for _ in range(FIRST):
            self.login(replicas[0])
        paces = [(self.login, 0.4), (self.wrong_login, 0.4), (self.verify, 0.03), (self.verify_ended, 0.1)]
        paces += [(self.refresh, 0.1), (self.refresh, 0.1), (self.revoke, 0.7)]
        self.threads = [
            threading.Thread(target=self.repeat, args=(work, replica, pace), daemon=True)
            for replica in replicas
            for work, pace in paces
        ]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def repeat(self, work, replica, pace):
        while not self.stopping.wait(pace * random.uniform(0.5, 1.5)):
            try:
                work(replica)
            except Exception as error:  # of the drill itself: it must not go unnoticed
                now = time.monotonic()
                self.note("drill", replica, now, "wrong", repr(error))
                raise

    def call(self, client, rpc, **fields):
        """The answer, or None; the reason of a refusal; and when it began."""
        began = time.monotonic()
        call = client.start(rpc, timeout=DEADLINE, **fields)
        error = call.exception()
        if error is None:
            return call.result(), "OK", began
        return None, reason_of(error), began

    def note(self, call, replica, began, outcome, reason, session=None):
        event = Event(call, replica.name, began, time.monotonic(), outcome, reason)
        with self.lock:
            self.events.append(event)
            self.told += outcome == "wrong"
        if outcome == "wrong" and self.told <= MOST_TOLD:
            about = f"\n    {session}" if session else ""
            print(f"!!! WRONG: {call} at {replica.name} {began:.3f} to {event.ended:.3f}: {reason}{about}", flush=True)

    def judge(self, call, replica, began, reason, allowed, session=None):
        """True when the answer is one that counts as a success."""
        if reason.split()[0] in REFUSALS:
            self.note(call, replica, began, "refused", reason, session)
            return False
        outcome = "ok" if allowed else "wrong"
        self.note(call, replica, began, outcome, reason, session)
        return allowed

    def login(self, replica):
        name, password = random.choice(self.users)
        answer, reason, began = self.call(replica.client, "Login", username=name, password=password)
        if self.judge(LOGIN, replica, began, reason, answer is not None):
            tokens = answer.tokens
            session = Session(tokens.session_id, tokens.refresh_token, [tokens.access_token], time.monotonic())
            with self.lock:
                self.live.append(session)
                if len(self.live) > MOST:
                    self.live.pop(random.randrange(len(self.live)))

    def wrong_login(self, replica):
        name, password = random.choice(self.users)
        answer, reason, began = self.call(replica.client, "Login", username=name, password="wrong-" + password)
        self.judge(WRONG_LOGIN, replica, began, reason, reason == "UNAUTHENTICATED INVALID_CREDENTIALS")

    def some_live(self, idle=False):
        with self.lock:
            found = [session for session in self.live if not (idle and session.busy)]
            chosen = random.choice(found) if found else None
            if chosen and idle:
                chosen.busy = True
            return chosen

    def verify(self, replica):
        session = self.some_live()
        if session is None:
            return
        token = random.choice(session.access)
        answer, reason, began = self.call(replica.client, "Verify", access_token=token)
        if answer is None:
            allowed = reason == "UNAUTHENTICATED TOKEN_REVOKED" and session.revoking is not None
        else:
            allowed = answer.principal.session_id == session.id and not session.is_over(replica.name, began)
        self.judge(VERIFY, replica, began, reason, allowed, session)

    def verify_ended(self, replica):
        """The newest, and some of all, in one call, of which each is judged."""
        with self.lock:
            newest = self.ended[-40:]
            older = self.ended[:-40]
        sessions = newest + random.sample(older, min(len(older), 40))
        if not sessions:
            return
        tokens = [random.choice(session.access) for session in sessions]
        answer, reason, began = self.call(replica.client, "VerifyBatch", access_tokens=tokens)
        for session, result in zip(sessions, answer.results if answer else ()):
            if result.WhichOneof("result") == "principal":
                if session.is_over(replica.name, began):
                    self.note(VERIFY_DEAD, replica, began, "wrong", "accepted", session)
            elif result.rejection != TOKEN_REVOKED:
                self.note(VERIFY_DEAD, replica, began, "wrong", f"rejection {result.rejection}", session)
        self.judge(VERIFY_DEAD, replica, began, reason, answer is not None and len(answer.results) == len(tokens))

    def refresh(self, replica):
        """The same token again after a refusal, at any replica."""
        session = self.some_live(idle=True)
        if session is None:
            return
        answer, reason, began = self.call(replica.client, "Refresh", refresh_token=session.refresh)
        if answer is None:
            allowed = reason == "UNAUTHENTICATED REFRESH_TOKEN_INVALID" and session.revoking is not None
        else:
            # A Revoke that was answered is committed, whatever replica answers.
            allowed = answer.tokens.session_id == session.id and not any(began >= at for at in session.ended.values())
            session.refresh = answer.tokens.refresh_token
            session.access = [*session.access[-2:], answer.tokens.access_token]
        session.busy = False
        self.judge(REFRESH, replica, began, reason, allowed, session)

    def revoke(self, replica):
        with self.lock:
            if len(self.live) < FEWEST:
                return
            session = self.live.pop(random.randrange(len(self.live)))
            session.revoking = time.monotonic()
            self.ended.append(session)
        target = random.choice(("refresh_token", "access_token", "session_id"))
        value = {"refresh_token": session.refresh, "access_token": session.access[-1], "session_id": session.id}[target]
        answers = 0
        while answers < 3 and session.dead > time.monotonic() and not self.stopping.is_set():
            wait = {"seconds": 1, "nanos": 500_000_000}
            answer, reason, began = self.call(self.admins[replica.name], "Revoke", wait=wait, **{target: value})
            allowed = answer is not None and (answer.confirmed or answer.HasField("everywhere_by"))
            if not self.judge(REVOKE, replica, began, reason, allowed, session):
                self.note(CONFIRMED, replica, began, "refused", reason, session)
                if reason.split()[0] not in REFUSALS:
                    return
                time.sleep(0.2)
                continue
            answers += 1
            now = time.monotonic()
            session.ended.setdefault(replica.name, now)
            by = now if answer.confirmed else now + answer.everywhere_by.ToNanoseconds() / 1e9 - time.time()
            session.dead = min(session.dead, by)
            confirmed = "ok" if answer.confirmed else "refused"
            self.note(CONFIRMED, replica, began, confirmed, "OK" if answer.confirmed else "not confirmed", session)
            if answer.confirmed:
                return

    def since(self, moment):
        with self.lock:
            return [event for event in self.events if event.ended >= moment]

    def is_well(self, seconds=1.5):
        """Every kind of call succeeds at every replica, and none is refused."""
        recent = self.since(time.monotonic() - seconds)
        good = {(event.call, event.replica) for event in recent if event.outcome == "ok"}
        wanted = {(call, replica.name) for call in CALLS for replica in self.replicas}
        return good >= wanted and not any(event.outcome == "refused" for event in recent)

    def wrong(self):
        return [event for event in self.since(0) if event.outcome == "wrong"]


def reason_of(error):
    """Status and reason: of an error of gRPC itself the status alone."""
    code = error.code().name
    try:
        return f"{code} {read(error).reason}"
    except AssertionError:
        return f"{code} (no details: {error.details()})"


def table(events, replicas, start, end):
    """Seconds count from the scenario's event."""
    head = ["call", "ok", "refused", "wrong", "refused from", "to"]
    head += [f"longest gap, replica {number}" for number, _ in enumerate(replicas, 1)]
    rows = [head]
    for call in (*CALLS, "drill"):
        mine = [event for event in events if event.call == call]
        if call == "drill" and not mine:
            continue
        count = Counter(event.outcome for event in mine)
        refused = [event.ended - start for event in mine if event.outcome == "refused"]
        span = [f"{min(refused):.1f}", f"{max(refused):.1f}"] if refused else ["", ""]
        gaps = [f"{longest_gap(mine, replica.name, start, end):.1f}" for replica in replicas]
        rows.append([call, *(str(count[outcome]) for outcome in ("ok", "refused", "wrong")), *span, *gaps])
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    justified = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    lines = ["  ".join(row) for row in justified]
    lines.insert(1, "-" * len(lines[0]))
    reasons = Counter(event.reason for event in events if event.outcome == "refused" and event.call != CONFIRMED)
    lines.append("refusals: " + (", ".join(f"{reason} {count}" for reason, count in reasons.most_common()) or "none"))
    return "\n".join(lines)


def longest_gap(events, replica, start, end):
    """The longest time without a success."""
    good = sorted(event.ended for event in events if event.outcome == "ok" and event.replica == replica)
    moments = [start, *good, end]
    return max(later - earlier for earlier, later in zip(moments, moments[1:]))
