"""What the cases of the conformance suite do not reach: clocks that are set, keys, and errors that are raised again and again."""

import base64
import dataclasses
import json
import tracemalloc
from pathlib import Path

import grpc
import pytest
from countersign._proto import auth_pb2 as v1
from countersign.clock import Moment
from countersign._details import reason_in, written
from countersign._status import refusal
from countersign.errors import Forbidden, Unauthenticated, Unavailable, of_status
from countersign.keys import read
from countersign.knowledge import Knowledge, Stream
from countersign.revocations import Index
from cryptography.hazmat.primitives.asymmetric import rsa

SUITE = json.loads((Path(__file__).parents[2] / "conformance/cases.json").read_text())
EPOCH = SUITE["epoch"]
CASE = next(case for case in SUITE["cases"] if case["name"] == "a token of EdDSA")
KEYS = CASE["steps"][1]["hear"]["keys"]
TOKEN = CASE["steps"][-1]["verify"]["token"]


def at(seconds, ahead=0.0):
    return Moment(1000 + seconds, EPOCH + seconds + ahead)


def heartbeat(seconds):
    message = v1.WatchRevocationsResponse()
    message.heartbeat.complete_as_of.seconds = seconds
    return message


def heard(knowledge, stream, moment, jwks=None):
    """Keys, and that all is known."""
    keys = v1.WatchRevocationsResponse()
    keys.keys.jwks, keys.keys.issuer = jwks or KEYS["jwks"], KEYS["issuer"]
    knowledge.hear(stream, keys, at(moment))
    knowledge.hear(stream, heartbeat(moment), at(moment))


def following(remembered=100):
    knowledge, stream = Knowledge(10, 0, remembered), Stream(at(0))
    heard(knowledge, stream, 0)
    knowledge.verify(TOKEN, None, at(1))
    return knowledge, stream


def test_a_wall_clock_that_is_set_ends_the_stream_and_is_no_lasting_outage():
    knowledge, stream = following()
    with pytest.raises(Unavailable) as stepped:
        knowledge.hear(stream, heartbeat(2), at(2, ahead=60))
    assert stepped.value.reason == "CLOCK_STEPPED"
    again = Stream(at(3, ahead=60))
    keys = v1.WatchRevocationsResponse()
    keys.keys.jwks, keys.keys.issuer = KEYS["jwks"], KEYS["issuer"]
    knowledge.hear(again, keys, at(3, ahead=60))
    knowledge.hear(again, heartbeat(0), at(3, ahead=60))
    knowledge.verify(TOKEN, None, at(4, ahead=60))


def test_nothing_is_complete_later_than_now():
    knowledge, stream = following()
    knowledge.hear(stream, heartbeat(500), at(2))
    knowledge.verify(TOKEN, None, at(11.9))
    with pytest.raises(Unavailable):
        knowledge.verify(TOKEN, None, at(12.1))


def test_an_outage_keeps_nothing_of_those_who_met_it():
    knowledge = Knowledge(10, 0, 100)
    raised = []
    for _ in range(2):
        with pytest.raises(Unavailable) as outage:
            knowledge.verify(TOKEN, None, at(0))
        raised.append(outage.value)
    assert raised[0] is not raised[1]


def test_a_short_key_is_no_longer_for_zeros_before_it():
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    padded = base64.urlsafe_b64encode(numbers.n.to_bytes(256, "big")).rstrip(b"=").decode()
    assert read(json.dumps({"keys": [{"kty": "RSA", "alg": "RS256", "kid": "short", "n": padded, "e": "AQAB"}]})) == {"short": None}


class Status(grpc.RpcError):
    """What a call ends with."""

    def __init__(self, code, *trailers):
        self.said, self.trailers = code, trailers

    def code(self):
        return self.said

    def details(self):
        return ""

    def trailing_metadata(self):
        return self.trailers


@pytest.mark.parametrize("error", [Unauthenticated("TOKEN_EXPIRED"), Forbidden("ROLE_MISSING"), Unavailable("SILENT")])
def test_the_reason_is_that_of_the_details_where_the_trailer_did_not_come(error):
    code, _, trailers = refusal(error)
    for kept in (trailers, trailers[1:], (("countersign-reason", ""), trailers[1])):
        found = of_status(Status(code, *kept))
        assert (type(found), found.reason) == (type(error), error.reason)


def test_details_of_others_and_broken_ones_say_nothing():
    from google.protobuf.any_pb2 import Any
    from google.rpc import error_details_pb2, status_pb2

    details = status_pb2.Status(code=16, message="m" * 300)
    for message in (
        error_details_pb2.RetryInfo(),
        error_details_pb2.ErrorInfo(reason="TOKEN_EXPIRED", domain="elsewhere"),
        error_details_pb2.ErrorInfo(reason="TOKEN_REVOKED", domain="countersign", metadata={"a": "b"}),
    ):
        packed = Any()
        packed.Pack(message)
        details.details.append(packed)
    whole = details.SerializeToString()
    assert reason_in(whole) == "TOKEN_REVOKED"
    # None of its beginnings is an error of another kind.
    assert {reason_in(whole[:size]) for size in range(len(whole))} == {None}
    for broken in (b"", b"\x1a\xff", b"\xff" * 20, b"\x1a\x02\x0a\x7f", bytes(range(256))):
        found = of_status(Status(grpc.StatusCode.UNAUTHENTICATED, ("grpc-status-details-bin", broken)))
        assert type(found) is Unavailable and found.reason == "UNREACHABLE"


def test_revocations_are_forgotten_when_they_are_over_by_both_clocks_and_no_token_revives():
    hours = 3 * 3600
    index = Index()
    dead = following()[0].verify(TOKEN, None, at(1))

    def said(principal=dead):
        try:
            index.check(principal)
        except Unauthenticated as error:
            return error.reason
        return "OK"

    # What comes again lasts no less.
    for until in (EPOCH + hours, EPOCH + 5):
        index.end_session(dead.session_id, until, at(0))
    index.end_user(dead.user_id, dead.epoch + 1, EPOCH + hours, at(0))
    index.end_user("another", 1, EPOCH + 4 * hours, at(0))
    # By one clock alone, and a little too soon.
    for moment in (at(hours - 100, ahead=100), at(0, ahead=2 * hours), at(3 * hours, ahead=-2 * hours - 100), at(hours - 1)):
        index.forget_expired(moment)
        assert len(index.sessions) == 1 and len(index.users) == 2 and said() == "TOKEN_REVOKED"
    index.forget_expired(at(hours + 40))
    assert not index.sessions and list(index.users) == ["another"]
    assert said() == "TOKEN_EXPIRED", "by a clock that steps back it would be alive"
    assert said(dataclasses.replace(dead, issued_at=EPOCH + hours, expires_at=EPOCH + hours + 600)) == "OK"


def test_a_million_revocations_take_less_than_200_bytes_each():
    tracemalloc.start()
    index, count = Index(), 100_000
    for place in range(count):
        index.end_session(f"01890a5d-ac96-774b-bcce-{place:012x}", EPOCH + place / 10, at(place / 100))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index.sessions) == count and taken / count < 200, taken / count


@pytest.mark.parametrize("reason", ["A\r\nset-cookie: a=b", "TOKEN_EXPIRED\n", "é", "a" * 100, "TOKEN EXPIRED", "A" * 65])
def test_a_reason_that_is_no_name_is_none(reason):
    details = written(16, "m", reason)
    for trailers in ([("countersign-reason", reason)], [("grpc-status-details-bin", details)]):
        found = of_status(Status(grpc.StatusCode.UNAUTHENTICATED, *trailers))
        assert type(found) is Unavailable and found.reason == "UNREACHABLE"
