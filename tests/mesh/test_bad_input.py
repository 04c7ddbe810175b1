"""Requests as nobody should send them: nobody is let in by them, and no server ends."""

import socket

import grpc
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2

from asked import ACCESS, REFRESH, allowed, ask, bearer, cookies, denied
from conftest import KINDS, NAMES
from proxies import Envoy, port_of

CHECK = "/envoy.service.auth.v3.Authorization/Check"
FILTER = "              transport_api_version: V3\n"
BODY = FILTER + "              with_request_body: {{ max_request_bytes: {}, pack_as_bytes: {} }}\n"


@pytest.fixture(scope="module")
def proxies(start, by_name, envoy):
    """All of them; those that other tests have started would do as well."""
    return {"envoy": envoy} | {name: start(kind, by_name(NAMES[name])) for name, kind in KINDS.items()}


@pytest.fixture(scope="module")
def channel(dev):
    with grpc.insecure_channel(dev.facts["grpc_addr"], options=[("grpc.enable_retries", 0)]) as channel:
        yield channel


def check(channel, request):
    """Asks as Envoy does, with a message or with bytes; the answer of Countersign."""
    data = request if isinstance(request, bytes) else request.SerializeToString()
    answer = channel.unary_unary(CHECK)(data, timeout=20)
    return external_auth_pb2.CheckResponse.FromString(answer)


def request(headers=(), raw=(), path="/orders", **more):
    """A CheckRequest; `raw` are headers as a list of bytes."""
    http = {"method": "GET", "path": path, "host": "shop.example.com", "scheme": "https", "headers": dict(headers)}
    if raw:
        values = [base_pb2.HeaderValue(key=name, raw_value=value) for name, value in raw]
        http["header_map"] = base_pb2.HeaderMap(headers=values)
    return external_auth_pb2.CheckRequest(attributes={"request": {"http": http | more}})


def assert_refused(answer, *reasons):
    assert answer.status.code == 16 and answer.WhichOneof("http_response") == "denied_response", answer
    assert answer.denied_response.status.code == 401, answer
    assert any(reason in answer.denied_response.body for reason in reasons or ("TOKEN",)), answer


def assert_let_in(answer, user):
    assert answer.status.code == 0 and answer.WhichOneof("http_response") == "ok_response", answer
    said = {option.header.key: option.header.value for option in answer.ok_response.headers}
    assert said["x-auth-user-id"] == user.id, answer


def test_an_authorization_of_64_kib_lets_nobody_in(proxies, channel, token):
    for name, proxy in proxies.items():
        for size in (7_000, 50_000, 65_536):
            for value in (b"Bearer " + b"x" * size, b"x" * size, b"Bearer " + token.encode() + b" " * 10 + b"x" * size):
                answer = ask(proxy.port, "/orders", [("authorization", value)])
                # A server that hangs up on a head of that size looks like an outage to some proxies.
                assert answer.status in (400, 401, 431, 503) and not answer.from_app, (name, size, answer)
        assert ask(proxy.port, "/orders").status == 401
    assert_refused(check(channel, request({"authorization": "Bearer " + "x" * 65536})), "TOKEN_MALFORMED")
    assert_refused(check(channel, request(raw=[("authorization", b"Bearer " + b"x" * 65536)])), "TOKEN_MALFORMED")


def test_bytes_that_are_no_text_change_nothing(proxies, channel, alice, token):
    odd = [("x-odd", b"\xff\xfe\x80"), ("cookie", b"basket=\xff\xfe; " + f"{ACCESS}={token}".encode())]
    for name, proxy in proxies.items():
        allowed(ask(proxy.port, "/orders", odd), alice)
        answer = ask(proxy.port, "/orders", [("authorization", b"Bearer " + token.encode() + b"\xff")])
        assert answer.status in (400, 401) and not answer.from_app, (name, answer)
        answer = ask(proxy.port, "/orders", [("cookie", f"{ACCESS}={token}".encode() + b"\xff")])
        assert answer.status in (400, 401) and not answer.from_app, (name, answer)
    raw = [(name, value) for name, value in odd]
    assert_let_in(check(channel, request(raw=raw)), alice)
    assert_refused(check(channel, request(raw=[("authorization", b"Bearer " + token.encode() + b"\xff")])))


def test_forty_cookies_of_one_name_let_nobody_in(proxies, channel, token):
    many = "; ".join([f"{ACCESS}={token}"] * 40)
    for name, proxy in proxies.items():
        for header in (
            many.replace(token, "x"),
            "; ".join([f"{ACCESS}=x{n}" for n in range(40)] + [f"{ACCESS}={token}"]),
        ):
            answer = ask(proxy.port, "/orders", [("cookie", header)])
            assert answer.status == 401 and not answer.from_app, (name, answer)
    assert_refused(check(channel, request({"cookie": many})), "TOKEN_MALFORMED")
    assert_refused(check(channel, request({"cookie": "; ".join([f"{REFRESH}=csr_x"] * 40)})), "TOKEN_MALFORMED")


def test_a_body_in_the_question_is_no_part_of_it(start, dev, alice, token):
    for size, as_bytes in ((500_000, "true"), (500_000, "false")):
        envoy = start(Envoy, dev, (FILTER, BODY.format(size, as_bytes)))
        answer = allowed(ask(envoy.port, "/orders", bearer(token), method="POST", body=b"x" * 400_000), alice)
        assert b'"body": 400000' in answer.body
        denied(ask(envoy.port, "/orders", method="POST", body=b"x" * 400_000), 401, "TOKEN_MISSING")
        assert ask(envoy.port, "/orders", bearer(token), method="POST", body=b"x" * 600_000).status == 413


def test_a_question_beyond_the_limit_of_messages_lets_nobody_in(start, dev, alice, token, channel):
    """A message is at most 1 MiB of body and the rest of the request. With a larger limit at Envoy, more is an outage."""
    envoy = start(Envoy, dev, (FILTER, BODY.format(4 << 20, "true")))
    allowed(ask(envoy.port, "/orders", bearer(token), method="POST", body=b"x" * (1 << 20)), alice)
    denied(ask(envoy.port, "/orders", method="POST", body=b"x" * (1 << 20)), 401, "TOKEN_MISSING")
    answer = ask(envoy.port, "/orders", bearer(token), method="POST", body=b"x" * (2 << 20))
    assert answer.status == 503 and not answer.from_app, answer
    with pytest.raises(grpc.RpcError):
        check(channel, request({"authorization": f"Bearer {token}"}, raw_body=b"x" * (2 << 20)))


def test_a_question_without_a_token_lets_nobody_in(channel):
    for asked in (request(), request({"authorization": ""}), request(path="")):
        assert_refused(check(channel, asked), "TOKEN")


def test_a_question_that_asks_nothing_is_an_error(channel):
    """Envoy takes it as an outage: nobody gets in."""
    for fields in ({}, {"attributes": {}}, {"attributes": {"request": {}}}):
        with pytest.raises(grpc.RpcError):
            check(channel, external_auth_pb2.CheckRequest(**fields))


def test_a_question_that_is_no_message_lets_nobody_in(channel, token):
    good = request({"authorization": f"Bearer {token}"}).SerializeToString()
    for data in (b"\xff" * 100, good[:-3], b"\x0a" + good):
        with pytest.raises(grpc.RpcError) as caught:
            answer = check(channel, data)
            assert answer.status.code != 0, answer
            raise grpc.RpcError
        assert caught.value is not None


def test_fields_of_later_days_are_skipped(channel, alice, token):
    good = request({"authorization": f"Bearer {token}"}).SerializeToString()
    # Field 15, a text; field 2000, a number.
    assert_let_in(check(channel, good + b"\x7a\x03abc" + b"\x80\x7d\x2a"), alice)


def test_both_forms_of_headers_at_once_let_nobody_in_by_mistake(channel, alice, token):
    both = request({"authorization": f"Bearer {token}"}, raw=[("authorization", b"Bearer nonsense")])
    assert_refused(check(channel, both))
    twice = request(raw=[("authorization", f"Bearer {token}".encode())] * 2)
    assert_refused(check(channel, twice))
    mixed = request(raw=[("Authorization", f"Bearer {token}".encode()), ("authorization", b"Bearer nonsense")])
    assert_refused(check(channel, mixed))


def test_forward_auth_survives_what_is_no_request(by_name, token):
    port = port_of(by_name("path").facts["http_addr"])
    for said in (
        b"GET /forward-auth HTTP/1.1\r\n\r\n",
        b"GET /forward-auth HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \x00\r\n\r\n",
        b"GET /forward-auth/\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /forward-auth HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\ntransfer-encoding: chunked\r\n\r\n",
        b"\xff\xfe\xfd\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
            wire.sendall(said)
            wire.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: wire.recv(65536), b""))
        assert b" 200 " not in answer.partition(b"\r\n")[0], (said, answer)
    assert ask(port, "/forward-auth", bearer(token)).status == 200
    for value in (
        cookies(access=""),
        cookies(refresh=""),
        cookies(refresh="~"),
        cookies(refresh="~~~"),
        [("cookie", "=;;=")],
    ):
        assert ask(port, "/forward-auth", value).status == 401, value


def test_headers_of_the_request_beyond_the_limit_let_nobody_in(by_name, token):
    """Those of forward auth are headers of HTTP: 8 KiB or so of cookies are within the limit, a megabyte is not."""
    port = port_of(by_name("path").facts["http_addr"])
    assert ask(port, "/forward-auth", bearer(token) + [("cookie", "basket=" + "x" * 6_000)]).status == 200
    try:
        answer = ask(port, "/forward-auth", bearer(token) + [("x-long", "x" * 60_000)] * 20)
        assert answer.status in (400, 431), answer
    except (BrokenPipeError, ConnectionResetError):
        pass  # The connection was closed before the whole head was sent, so that the answer was lost.
    assert ask(port, "/forward-auth", bearer(token)).status == 200
