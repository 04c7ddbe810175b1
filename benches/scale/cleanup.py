"""What deleting expired sessions does to Verify and Refresh. A server deletes in turns, half a minute apart, so one run
shows both: calls that were due in a turn, and those that were due between turns."""

import itertools
import multiprocessing
import time

import wire
from wire import field

RATES = {"Verify": 2000, "Refresh": 500}
# Turns follow each other later than that, and their statements sooner.
GAP = 5
TICK = 0.01
# Seconds before and after a turn with which it is compared: the machine's speed changes from minute to minute.
BESIDE = 5
# Tokens that are verified again and again.
WARM = 64
EXPIRED = "SELECT count(*) FROM refresh_tokens WHERE expires_at < now() - interval '24 hours'"
FIRST = "'00000000-0000-0000-0000-000000000000'"


def expire(place, count):
    """Lets the oldest sessions be over for longer than they are kept. Nothing is deleted before COMMIT is asked for through
    the connection that this gives."""
    postgres = place.postgres
    held = postgres.session()
    held.ask(f"BEGIN; UPDATE session_sweep SET after = {FIRST}")
    oldest = f"SELECT session_id FROM refresh_tokens WHERE revoked_at IS NULL ORDER BY session_id LIMIT {count}"
    postgres.ask(
        "UPDATE refresh_tokens SET expires_at = now() - interval '2 days', idle_expires_at = now() - interval '2 days' "
        f"WHERE session_id IN ({oldest})"
    )
    postgres.ask("VACUUM (ANALYZE) refresh_tokens")
    postgres.ask("CHECKPOINT")
    return held


def call(address, method, messages, rate, begin, results):
    with wire.Client(address) as client:
        results.put((method, client.paced(f"AuthService/{method}", messages, rate, begin)))


def load(place, seconds):
    """Starts both loads, each in a process of its own; gives what their figures come through."""
    count = seconds * RATES["Refresh"]
    share = min(100, 200 * count / place.sessions)
    live = place.postgres.ask(
        f"SELECT session_id FROM refresh_tokens s TABLESAMPLE BERNOULLI ({share}) JOIN users u ON u.id = s.user_id "
        "WHERE generation = 1 AND revoked_at IS NULL AND expires_at > now() AND s.epoch = u.epoch AND disabled_at IS NULL "
        f"ORDER BY random() LIMIT {count + WARM}"
    )
    tokens = [field(1, place.refresh_token(id, 1)) for (id,) in live]
    with wire.Client(place.server.address) as client:
        answers = client.all("AuthService/Refresh", tokens[count:])
    access = itertools.cycle([field(1, wire.first_field(wire.first_field(answer))) for answer in answers])
    messages = {"Verify": list(itertools.islice(access, seconds * RATES["Verify"])), "Refresh": tokens[:count]}
    results, begin = multiprocessing.Queue(), time.monotonic() + 2
    for method, rate in RATES.items():
        arguments = (place.server.address, method, messages[method], rate, begin, results)
        multiprocessing.Process(target=call, args=arguments, daemon=True).start()
    return results, begin


def turns(place, until):
    """When statements of the clean-up were seen, as [first, last] of each turn."""
    seen, after = [], None
    watching = place.postgres.session()
    while (now := time.monotonic()) < until:
        was, after = after, watching.ask("SELECT after FROM session_sweep")
        if was is not None and after != was:
            if not seen or now - seen[-1][1] > GAP:
                seen.append([now - TICK, now])
            seen[-1][1] = now
        time.sleep(TICK)
    return seen


def quantiles(latencies):
    """In milliseconds."""
    ordered = sorted(latencies)
    at = lambda quantile: ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] * 1000
    return {"calls": len(ordered), "p50": at(0.5), "p99": at(0.99)}


def compare(calls, seen):
    """All calls, with those between turns; and those of each turn, with those that were due shortly before and after."""
    part = lambda chosen: quantiles([latency for due, latency in calls if chosen(due)])
    within = lambda due: any(first <= due <= last for first, last in seen)
    beside = lambda first, last: lambda due: first - BESIDE <= due <= last + BESIDE and not within(due)
    turns = [(part(lambda due: first <= due <= last), part(beside(first, last))) for first, last in seen]
    return {"all": part(lambda due: True), "between": part(lambda due: not within(due)), "turns": turns}


def measure(place, expired, seconds):
    held = expire(place, expired)
    before = place.postgres.one(EXPIRED)
    results, begin = load(place, seconds)
    held.ask("COMMIT")
    seen = turns(place, begin + seconds)
    # One that has begun before the load, or with its last calls, shows nothing.
    seen = [(first, last) for first, last in seen if first > begin + 1 and last < begin + seconds - 1]
    figures = dict(results.get(timeout=60) for _ in RATES)
    deleted = before - place.postgres.one(EXPIRED)
    for method, calls in figures.items():
        if any(latency is None for _, latency in calls):
            raise SystemExit(f"{method} was refused during the clean-up")
    report = {method: {"rate": RATES[method], **compare(calls, seen)} for method, calls in figures.items()}
    lengths = [last - first for first, last in seen]
    return {"expired": before, "deleted": deleted, "seconds": seconds, "turns": lengths, "calls": report}
