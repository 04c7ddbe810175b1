"""The interceptors over sockets."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2, status_pb2

from helpers import until_true

from countersign import Demand
from countersign.grpc_interceptor import AioInterceptor, Interceptor, current_principal

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
PUBLIC, ADMIN = "/shop.Orders/Health", "/shop.Orders/Admin"


def whose():
    caller = current_principal()
    return StringValue(value=caller.user_id if caller else "nobody")


def one(request, context):
    return whose()


def many(request, context):
    for _ in range(3):
        yield whose()


async def aone(request, context):
    return whose()


async def amany(request, context):
    for _ in range(3):
        yield whose()


async def wrote(request, context):
    for _ in range(3):
        await context.write(whose())


def service(answer, answers):
    def handler(kind, behaviour):
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(behaviour, StringValue.FromString, StringValue.SerializeToString)

    found = {kind: handler(kind, answers if kind.endswith("stream") else answer) for kind in KINDS}
    found |= {name: handler("unary_unary", answer) for name in ("Health", "Admin")}
    return grpc.method_handlers_generic_handler("shop.Orders", found)


def settings():
    return {"public": [PUBLIC], "demands": {ADMIN: Demand(roles=("admin",))}}


@pytest.fixture
def start_sync():
    servers = []

    def start(verifier):
        server = grpc.server(ThreadPoolExecutor(4), interceptors=[Interceptor(verifier, **settings())])
        server.add_generic_rpc_handlers((service(one, many),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return port

    yield start
    for server in servers:
        server.stop(0).wait(10)


@pytest.fixture
def start_aio():
    """Starts a server on a loop in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    servers = []

    async def begin(verifier, behaviours):
        server = grpc.aio.server(interceptors=[AioInterceptor(verifier, **settings())])
        server.add_generic_rpc_handlers((service(*behaviours),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return port

    yield lambda verifier, behaviours: asyncio.run_coroutine_threadsafe(begin(verifier, behaviours), loop).result(10)
    for server in servers:
        asyncio.run_coroutine_threadsafe(server.stop(0), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


@pytest.fixture(params=["grpc", "coroutines", "writers", "functions"])
def start(request, start_sync, start_aio):
    behaviours = {"coroutines": (aone, amany), "writers": (aone, wrote), "functions": (one, many)}
    if request.param == "grpc":
        return start_sync
    return lambda verifier: start_aio(verifier, behaviours[request.param])


def call(channel, method, *bearers, kind="unary_unary"):
    stub = getattr(channel, kind)(f"/shop.Orders/{method}", StringValue.SerializeToString, StringValue.FromString)
    request = StringValue(value="x")
    request = iter([request]) if kind.startswith("stream") else request
    answer = stub(request, timeout=10, metadata=[("authorization", value) for value in bearers])
    return {item.value for item in answer} if kind.endswith("stream") else {answer.value}


def refused(channel, method, *bearers, kind="unary_unary"):
    """Code and reason of a refusal, which its trailers say twice."""
    with pytest.raises(grpc.RpcError) as raised:
        call(channel, method, *bearers, kind=kind)
    error = raised.value
    trailers = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (trailers["countersign-reason"], "countersign")
    return error.code().name, info.reason


def test_calls(start, dev, alice, verifier_of):
    tokens = alice.login()
    bearer = f"Bearer {tokens.access_token}"
    with grpc.insecure_channel(f"127.0.0.1:{start(verifier_of(dev))}") as channel:
        for kind in KINDS:
            assert call(channel, kind, bearer, kind=kind) == {alice.id}
            assert refused(channel, kind, kind=kind) == ("UNAUTHENTICATED", "TOKEN_MISSING")
        assert call(channel, "Health") == {"nobody"} == call(channel, "Health", bearer)
        assert refused(channel, "Admin", bearer) == ("PERMISSION_DENIED", "ROLE_MISSING")
        assert refused(channel, "unary_unary", bearer, bearer) == ("UNAUTHENTICATED", "TOKEN_MISSING")
        assert refused(channel, "unary_unary", "Bearer abc") == ("UNAUTHENTICATED", "TOKEN_MALFORMED")
        dev.client.call("Revoke", refresh_token=tokens.refresh_token)
        until_true("it is refused", lambda: is_revoked(channel, bearer), 3)


def is_revoked(channel, bearer):
    try:
        call(channel, "unary_unary", bearer)
    except grpc.RpcError as error:
        return dict(error.trailing_metadata())["countersign-reason"] == "TOKEN_REVOKED"
    return False


def test_an_outage(start, relay, verifier_of):
    with relay.cut(), grpc.insecure_channel(f"127.0.0.1:{start(verifier_of(relay, ready=False))}") as channel:
        code, _ = refused(channel, "unary_unary", "Bearer abc")
        assert code == "UNAVAILABLE"


class Broken:
    """A verifier with a defect."""

    def verify(self, token, demand):
        raise TypeError("a defect")

    async def averify(self, token, demand):
        raise TypeError("a defect")


def test_a_defect_lets_nobody_in(start):
    with grpc.insecure_channel(f"127.0.0.1:{start(Broken())}") as channel:
        for kind in KINDS:
            with pytest.raises(grpc.RpcError) as raised:
                call(channel, kind, "Bearer abc", kind=kind)
            assert raised.value.code() in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)


def test_users_do_not_mix(start, dev, verifier_of):
    from actors import User

    users = [User(dev.client, "many") for _ in range(4)]
    tokens = {user.id: user.login().access_token for user in users}
    with grpc.insecure_channel(f"127.0.0.1:{start(verifier_of(dev))}") as channel, ThreadPoolExecutor(8) as threads:

        def ask(turn):
            user = users[turn % 4].id
            kind = KINDS[turn // 4 % 4]
            return call(channel, kind, f"Bearer {tokens[user]}", kind=kind) == {user}

        assert all(threads.map(ask, range(200)))
        assert call(channel, "Health") == {"nobody"}
