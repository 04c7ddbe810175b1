"""Whatever ends a session, the proxy that is told refuses its tokens, and goes on with those of others."""

import pytest

from actors import User
from processes import wait_until
from secrets_seen import new_password
from told import SETTINGS, TTL, passes, refused, status


@pytest.fixture(scope="module")
def limited(job, dev):
    """A replica at which users may have three sessions."""
    return job.serve("limited", dev, *SETTINGS, "--max-sessions-per-user", "3")


class Story:
    """A user with two sessions, of which one is to end, and somebody else who is logged in."""

    def __init__(self, client, limited):
        self.client, self.limited = client, limited
        self.user, self.stranger = User(client, "erin", roles=["reader"]), User(client, "frank", roles=["reader"])
        self.one, self.other, self.strange = self.user.login(), self.user.login(), self.stranger.login()


# Each ends a session of the user at least; which have ended, and which have not.


def logout_by_refresh_token(story):
    story.client.call("Revoke", refresh_token=story.one.refresh_token)
    return [story.one], [story.other]


def logout_by_access_token(story):
    story.client.call("Revoke", access_token=story.one.access_token)
    return [story.one], [story.other]


def login_above_the_limit(story):
    more = [story.user.login(at=story.limited.client) for _ in range(2)]
    return [story.one], [story.other, *more]


def reuse_of_a_refresh_token(story):
    first = second = story.one
    for _ in range(2):
        first, second = second, story.client.call("Refresh", refresh_token=second.refresh_token).tokens
    story.client.refused("REFRESH_TOKEN_REUSED", "Refresh", refresh_token=story.one.refresh_token)
    return [story.one, first, second], [story.other]


def change_of_a_password(story):
    words = {"old_password": story.user.password, "new_password": new_password()}
    story.client.call("ChangePassword", username=story.user.name, **words, keep_session_id=story.other.session_id)
    story.user.password = words["new_password"]
    return [story.one], [story.other, story.user.login()]


def change_of_a_password_that_keeps_nothing(story):
    words = {"old_password": story.user.password, "new_password": new_password()}
    story.client.call("ChangePassword", username=story.user.name, **words)
    story.user.password = words["new_password"]
    return [story.one, story.other], [story.user.login()]


def password_set_by_an_administrator(story):
    story.user.password = new_password()
    story.client.call("SetPassword", user_id=story.user.id, password=story.user.password)
    return [story.one, story.other], [story.user.login()]


def role_taken_away(story):
    story.client.call("UpdateUser", user_id=story.user.id, roles={"names": ["guest"]}, end_sessions=True)
    return [story.one, story.other], [story.user.login()]


def deleted_user(story):
    story.client.call("DeleteUser", user_id=story.user.id)
    return [story.one, story.other], []


ENDINGS = [
    logout_by_refresh_token,
    logout_by_access_token,
    login_above_the_limit,
    reuse_of_a_refresh_token,
    change_of_a_password,
    change_of_a_password_that_keeps_nothing,
    password_set_by_an_administrator,
    role_taken_away,
    deleted_user,
]


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)
def test_what_ends_is_refused_by_the_proxy_and_all_else_passes(told, client, limited, ending):
    story = Story(client, limited)
    for tokens in (story.one, story.other, story.strange):
        passes(told, tokens)
    ended, live = ending(story)
    for tokens in ended:
        refused(told, tokens)
    assert [status(told, tokens) for tokens in [*live, story.strange]] == [200] * (len(live) + 1)


def test_a_new_login_passes_however_often_the_user_was_logged_out_everywhere(job, start_told, dev, client):
    """The first time is in the base of the proxy, which changes rarely, and the others are on its recent list."""
    user = User(client, "grace", roles=["reader"])
    client.call("Revoke", user_id=user.id)
    server = job.serve("after-a-logout", dev, *SETTINGS)
    proxy = start_told(server.facts["grpc_addr"])
    passes(proxy, user.login())
    for _ in range(12):
        before = user.login()
        client.call("Revoke", user_id=user.id)
        refused(proxy, before)
        passes(proxy, user.login(), 5)


def test_all_sessions_end_that_were_opened_before_a_moment(job, start_told):
    server = job.dev("of-a-restore", "--proxy-ttl", f"{TTL}s")
    proxy = start_told(server.facts["grpc_addr"])
    user = User(server.client, "heidi", roles=["reader"])
    tokens = user.login()
    passes(proxy, tokens)
    ended = job.command("sessions", "--database-url", server.facts["database_url"], "end-all")
    assert ended.returncode == 0, ended.stderr
    refused(proxy, tokens)
    # Moments are whole seconds: those of the one that has begun end with it.
    wait_until("a new login passes", lambda: status(proxy, user.login()) == 200, 5)
    assert status(proxy, tokens) == 401
