"""Runs the cases that all verifiers have to answer."""

import json
from pathlib import Path

import pytest

from countersign._proto import auth_pb2 as pb
from countersign.clock import Moment
from countersign.errors import CountersignError, Unavailable
from countersign.knowledge import Demand, Knowledge, Stream

FILE = json.loads((Path(__file__).resolve().parents[2] / "conformance" / "cases.json").read_text())
BOOT = 5000.0


def seconds(message, value):
    message.seconds = int(value // 1)
    message.nanos = round((value - message.seconds) * 1e9)


def revocation(said):
    found = pb.Revocation()
    if "session_id" in said:
        found.session_id = said["session_id"]
    if "user" in said:
        found.user.user_id, found.user.least_epoch = said["user"]["user_id"], int(said["user"]["least_epoch"])
    if "opened_before" in said:
        seconds(found.opened_before, said["opened_before"])
    if said.get("expires_at") is not None:
        seconds(found.expires_at, said["expires_at"])
    return found


def message(heard):
    ((kind, said),) = ((name, said) for name, said in heard.items() if name != "fails")
    found = pb.WatchRevocationsResponse()
    part = getattr(found, kind)
    part.SetInParent()
    if kind == "keys":
        part.jwks, part.issuer = said["jwks"], said["issuer"]
    elif kind == "heartbeat":
        seconds(part.complete_as_of, said["complete_as_of"])
        if "sent_at" in said:
            seconds(part.sent_at, said["sent_at"])
    else:
        part.revocations.extend(map(revocation, said["revocations"]))
        part.position = said.get("position", "")
    return found


def answer(knowledge, asked, at):
    try:
        principal = knowledge.verify(asked["token"], asked.get("audience"), at)
        Demand(roles=tuple([asked["role"]] if asked.get("role") else [])).check(principal)
    except Unavailable:
        return "UNAVAILABLE"
    except CountersignError as error:
        return error.reason
    return "OK"


@pytest.mark.parametrize("case", FILE["cases"], ids=lambda case: case["name"])
def test_case(case):
    settings = case["settings"]
    knowledge = Knowledge(settings.get("max_staleness", 10.0), 0, 100, settings.get("issuer"))
    stream = None
    for step in case["steps"]:
        at = Moment(BOOT + step["at"], FILE["epoch"] + step["at"] + settings.get("clock_ahead", 0))
        if "call" in step:
            stream = Stream(at)
        elif "hear" in step:
            fails = False
            try:
                knowledge.hear(stream, message(step["hear"]), at)
            except Unavailable:
                fails = True
            assert fails == step.get("fails", False), step
        else:
            assert answer(knowledge, step["verify"], at) == step["expect"], step
