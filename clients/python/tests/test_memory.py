"""What is remembered of tokens: how much, how long, and what it saves."""

import threading

import pytest

from test_core import TOKEN, at, following, heard

from countersign._memory import ENTRY, Memory
from countersign._proto import auth_pb2 as v1
from countersign.errors import Unauthenticated
from countersign.keys import Key

FORGED = TOKEN[:-8] + "AAAAAAAA"


@pytest.fixture
def checked(monkeypatch):
    """Counts signatures."""
    count = []
    verifies = Key.verifies

    def counting(key, message, signature):
        count.append(1)
        return verifies(key, message, signature)

    monkeypatch.setattr(Key, "verifies", counting)
    return count


def reason(knowledge, token, moment):
    try:
        knowledge.verify(token, None, moment)
    except Unauthenticated as error:
        return error.reason
    return "OK"


def test_what_is_sent_again_costs_no_signature(checked):
    knowledge, stream = following()
    for token, said in ((TOKEN, "OK"), (FORGED, "TOKEN_SIGNATURE_INVALID"), ("no.token", "TOKEN_MALFORMED")):
        before = len(checked)
        assert {reason(knowledge, token, at(1)) for _ in range(100)} == {said}
        assert len(checked) - before <= 1
    # Neither do keys that are the same, which each new stream says.
    before = len(checked)
    heard(knowledge, stream, 2)
    assert reason(knowledge, TOKEN, at(2)) == "OK" and reason(knowledge, FORGED, at(2)) == "TOKEN_SIGNATURE_INVALID"
    assert len(checked) == before


def test_a_key_that_is_new_leaves_no_token_refused():
    knowledge, stream = following()
    heard(knowledge, stream, 1, jwks='{"keys": []}')
    assert [reason(knowledge, TOKEN, at(1)) for _ in range(2)] == ["TOKEN_SIGNATURE_INVALID"] * 2
    heard(knowledge, stream, 2)
    assert reason(knowledge, TOKEN, at(2)) == "OK"
    heard(knowledge, stream, 3, jwks='{"keys": []}')
    assert reason(knowledge, TOKEN, at(3)) == "TOKEN_SIGNATURE_INVALID"


def test_what_is_dead_is_not_kept_among_what_is_accepted():
    knowledge, stream = following()
    verified = knowledge._keyed.verified
    assert len(verified) == 1
    added = v1.WatchRevocationsResponse()
    revocation = added.additions.revocations.add()
    revocation.session_id = knowledge.verify(TOKEN, None, at(1)).session_id
    knowledge.hear(stream, added, at(2))
    assert reason(knowledge, TOKEN, at(2)) == "TOKEN_REVOKED" and len(verified) == 0
    assert reason(knowledge, TOKEN, at(2)) == "TOKEN_REVOKED"
    for moment, kept in ((599, 1), (601, 0)):
        knowledge, _ = following()
        knowledge.forget_expired(at(moment))
        assert len(knowledge._keyed.verified) == kept


def test_what_is_used_stays_and_a_flood_is_bounded():
    memory = Memory(100, 1 << 30)
    memory.set("used", 1)
    for n in range(10_000):
        memory.set(str(n), n)
        assert memory.get("used") == 1
        assert len(memory) <= 101
    assert memory.get("0") is None and memory.get("9999") == 9999


def test_memory_is_bounded_by_bytes():
    memory = Memory(10_000, 100 * (7000 + ENTRY))
    for n in range(1000):
        memory.set(f"{n:07000}", n)
        assert len(memory) <= 100
    assert memory.get(f"{999:07000}") == 999
    memory.set("x" * 10_000_000, 1)
    assert memory.get("x" * 10_000_000) is None and memory.get(f"{999:07000}") == 999
    for none in (Memory(0, 1 << 20), Memory(-1, 1 << 20)):
        none.set("a", 1)
        assert none.get("a") is None


def test_a_flood_of_tokens_that_come_once_leaves_the_one_that_is_used(checked):
    knowledge, _ = following(remembered=10)
    keyed = knowledge._keyed
    principal = keyed.verified.get(TOKEN)
    before = len(checked)
    for n in range(1000):
        keyed.verified.set(f"once {n}", principal)
        assert reason(knowledge, TOKEN, at(1)) == "OK"
    assert len(checked) == before


def test_threads_share_a_memory():
    memory, wrong = Memory(64, 1 << 20), []

    def work(seed):
        for n in range(20_000):
            text = str((n * seed) % 200)
            memory.set(text, text)
            if memory.get(text) not in (text, None):
                wrong.append(text)
            if n % 5 == 0:
                memory.drop(text)
            if n % 1000 == 0:
                memory.retain(lambda value: value != text)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (3, 7, 11, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and len(memory) <= 64
    assert memory._young_size == sum(len(text) + ENTRY for text in memory._young)


def test_a_memory_that_was_busy_when_its_process_forked_holds_nobody_up():
    memory = Memory(64, 1 << 20)
    with memory._busy:
        memory.set("a", 1)
        memory.drop("a")
        assert memory.get("a") is None


@pytest.mark.parametrize("token", [None, b"a.b.c", 7, [], {}])
def test_what_is_no_text_is_no_token(token):
    knowledge, _ = following()
    assert reason(knowledge, token, at(1)) == "TOKEN_MALFORMED"


def test_what_was_heard_counts_for_whoever_verifies_after_it():
    wrong = []
    for _ in range(30):
        knowledge, stream = following()
        session = knowledge.verify(TOKEN, None, at(1)).session_id
        told, over = threading.Event(), threading.Event()

        def work(knowledge=knowledge, told=told, over=over):
            while not over.is_set():
                after = told.is_set()
                if reason(knowledge, TOKEN, at(2)) == "OK" and after:
                    wrong.append(TOKEN)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        added = v1.WatchRevocationsResponse()
        added.additions.revocations.add().session_id = session
        # Keys come and go meanwhile, and with them what is remembered.
        for jwks in ('{"keys": []}', None):
            heard(knowledge, stream, 2, jwks)
        knowledge.hear(stream, added, at(2))
        told.set()
        heard(knowledge, stream, 2, '{"keys": [{}]}')
        heard(knowledge, stream, 2)
        knowledge.forget_expired(at(2))
        over.set()
        for thread in threads:
            thread.join()
    assert wrong == []
