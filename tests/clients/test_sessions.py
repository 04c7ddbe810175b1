"""Login, Verify, Refresh, Revoke and ListSessions, as a service in another language sees them."""

from datetime import timedelta

import pytest

from actors import User

TOLERANCE = timedelta(seconds=60)


def test_login_opens_a_session_that_verify_accepts(client, alice):
    tokens = alice.login(client={"ip": "192.0.2.7", "user_agent": "grpcio canary", "device": "a canary laptop"})

    answer = client.call("Verify", access_token=tokens.access_token, audience="billing")

    principal = answer.principal
    assert (principal.user_id, principal.session_id) == (alice.id, tokens.session_id)
    assert list(principal.roles) == ["reader"]
    assert set(principal.audience) == {"internal", "billing"}
    assert principal.token_id and principal.username == ""
    assert principal.expires_at.seconds == tokens.access_token_expires_at.seconds
    lifetime = principal.expires_at.ToDatetime() - principal.issued_at.ToDatetime()
    assert timedelta(minutes=9) < lifetime <= timedelta(minutes=10, seconds=30)
    age = principal.issued_at.ToDatetime() - answer.revocations_as_of.ToDatetime()
    assert abs(age) < TOLERANCE


def test_a_username_is_found_in_any_case_and_unicode_form(client, alice):
    for name in (alice.name.upper(), f"  {alice.name}", alice.name.replace("a", "\uff41", 1)):
        assert client.call("Login", username=name, password=alice.password).tokens.access_token


def test_verify_batch_answers_in_order(client, alice, stranger):
    alive, ended = alice.login(), alice.login()
    narrow = alice.login(audience=["internal"])
    foreign = User(stranger.client, "mallory").login()
    client.call("Revoke", session_id=ended.session_id)
    tokens = [alive, ended, narrow, foreign]

    answer = client.call(
        "VerifyBatch", access_tokens=["garbage", *(pair.access_token for pair in tokens)], audience="billing"
    )

    kinds = client.pool.FindEnumTypeByName("countersign.v1.Rejection").values_by_number
    assert answer.results[1].principal.session_id == alive.session_id
    rejections = [kinds[result.rejection].name for result in answer.results if result.HasField("rejection")]
    assert rejections == [
        "REJECTION_TOKEN_MALFORMED",
        "REJECTION_TOKEN_REVOKED",
        "REJECTION_TOKEN_AUDIENCE_MISMATCH",
        "REJECTION_TOKEN_SIGNATURE_INVALID",
    ]
    assert answer.HasField("revocations_as_of")


def test_a_thousand_tokens_are_verified_at_once(client, alice):
    token = alice.login().access_token
    answer = client.call("VerifyBatch", access_tokens=[token] * 1000)
    assert [result.principal.user_id for result in answer.results] == [alice.id] * 1000


def test_refresh_goes_on_and_a_repeat_converges(client, alice):
    first = alice.login()

    second = client.call("Refresh", refresh_token=first.refresh_token, access_token=first.access_token)
    again = client.call("Refresh", refresh_token=first.refresh_token)

    assert (second.replayed, again.replayed) == (False, True)
    assert again.tokens.refresh_token == second.tokens.refresh_token != first.refresh_token
    assert again.tokens.session_id == second.tokens.session_id == first.session_id
    third = client.call("Refresh", refresh_token=again.tokens.refresh_token)
    for tokens in (first, second.tokens, again.tokens, third.tokens):
        assert client.call("Verify", access_token=tokens.access_token).principal.session_id == first.session_id


def test_fifty_refreshes_at_once_give_one_successor(client, alice):
    token = alice.login().refresh_token
    answers = [future.result() for future in [client.start("Refresh", refresh_token=token) for _ in range(50)]]
    for answer in answers:
        client.seen.add_message(answer)
    assert len({answer.tokens.refresh_token for answer in answers}) == 1
    assert [answer.replayed for answer in answers].count(False) == 1


def test_a_reused_refresh_token_ends_the_session(client, alice):
    first = alice.login()
    second = client.call("Refresh", refresh_token=first.refresh_token).tokens
    third = client.call("Refresh", refresh_token=second.refresh_token).tokens

    client.refused("REFRESH_TOKEN_REUSED", "Refresh", refresh_token=first.refresh_token)

    client.refused("REFRESH_TOKEN_INVALID", "Refresh", refresh_token=third.refresh_token)
    client.refused("TOKEN_REVOKED", "Verify", access_token=third.access_token)


@pytest.mark.parametrize("target", ["refresh_token", "access_token", "session_id"])
def test_revoke_ends_one_session(client, alice, target):
    ended, other = alice.login(), alice.login()

    answer = client.call("Revoke", **{target: getattr(ended, target)}, wait={"seconds": 1})

    assert answer.sessions_revoked == 1 and answer.HasField("everywhere_by")
    client.refused("TOKEN_REVOKED", "Verify", access_token=ended.access_token)
    client.refused("REFRESH_TOKEN_INVALID", "Refresh", refresh_token=ended.refresh_token)
    assert client.call("Verify", access_token=other.access_token).principal.session_id == other.session_id
    assert client.call("Revoke", **{target: getattr(ended, target)}).sessions_revoked == 0


def test_revoke_of_a_user_ends_all_sessions(client, alice):
    sessions = [alice.login() for _ in range(3)]
    assert client.call("Revoke", user_id=alice.id).sessions_revoked == 3
    for tokens in sessions:
        client.refused("TOKEN_REVOKED", "Verify", access_token=tokens.access_token)
        client.refused("REFRESH_TOKEN_INVALID", "Refresh", refresh_token=tokens.refresh_token)
    assert alice.session_ids() == []
    again = alice.login()
    assert client.call("Verify", access_token=again.access_token).principal.session_id == again.session_id


def test_revoke_of_a_user_may_keep_one_session(client, alice):
    kept, *others = [alice.login() for _ in range(3)]
    answer = client.call("Revoke", user_id=alice.id, keep_session_id=kept.session_id)
    assert answer.sessions_revoked == 2
    for tokens in others:
        client.refused("TOKEN_REVOKED", "Verify", access_token=tokens.access_token)
    assert client.call("Verify", access_token=kept.access_token).principal.session_id == kept.session_id
    assert client.call("Refresh", refresh_token=kept.refresh_token).tokens.session_id == kept.session_id


def test_a_replaced_refresh_token_still_revokes(client, alice):
    first = alice.login()
    second = client.call("Refresh", refresh_token=first.refresh_token).tokens
    assert client.call("Revoke", refresh_token=first.refresh_token).sessions_revoked == 1
    client.refused("TOKEN_REVOKED", "Verify", access_token=second.access_token)


def test_revoke_of_what_is_unknown_is_fine(client, stranger):
    foreign = User(stranger.client, "mallory").login()
    nobody = "0192f0c1-2b3c-7d4e-8f50-123456789abc"
    for target in (
        {"refresh_token": foreign.refresh_token},
        {"access_token": foreign.access_token},
        {"refresh_token": "garbage"},
        {"access_token": "garbage"},
        {"session_id": nobody},
        {"user_id": nobody},
    ):
        assert client.call("Revoke", **target).sessions_revoked == 0
    assert stranger.client.call("Verify", access_token=foreign.access_token).principal.session_id


def test_sessions_are_listed_oldest_first_and_by_page(client, alice):
    opened = [alice.login(client={"device": f"canary device {number}"}) for number in range(5)]
    client.call("Refresh", refresh_token=opened[1].refresh_token, client={"device": "canary device new"})
    found, token = [], ""
    while True:
        page = client.call("ListSessions", user_id=alice.id, page_size=2, page_token=token)
        assert len(page.sessions) <= 2
        found += page.sessions
        token = page.next_page_token
        if not token:
            break
    assert [session.session_id for session in found] == [tokens.session_id for tokens in opened]
    assert [session.client.device[14:] for session in found] == ["0", "new", "2", "3", "4"]
    assert {session.user_id for session in found} == {alice.id}
    refreshed, quiet = found[1], found[0]
    assert refreshed.last_refreshed_at.ToDatetime() > refreshed.created_at.ToDatetime()
    assert quiet.expires_at.ToDatetime() - quiet.created_at.ToDatetime() == timedelta(days=14)
