"""A gRPC client that knows nothing but an address: services and messages come from server reflection.

Every refusal is held against the contract of proto/countersign/v1/auth.proto here, so that a test says the reason alone.
"""

import re
from dataclasses import dataclass

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICES = ("countersign.v1.AuthService", "countersign.v1.UserService")

CODES = {
    "INVALID_CREDENTIALS": "UNAUTHENTICATED",
    "TOKEN_MALFORMED": "UNAUTHENTICATED",
    "TOKEN_SIGNATURE_INVALID": "UNAUTHENTICATED",
    "TOKEN_EXPIRED": "UNAUTHENTICATED",
    "TOKEN_REVOKED": "UNAUTHENTICATED",
    "TOKEN_AUDIENCE_MISMATCH": "UNAUTHENTICATED",
    "REFRESH_TOKEN_INVALID": "UNAUTHENTICATED",
    "REFRESH_TOKEN_REUSED": "UNAUTHENTICATED",
    "CALLER_NOT_ALLOWED": "PERMISSION_DENIED",
    "OVERLOADED": "RESOURCE_EXHAUSTED",
    "DATABASE_UNAVAILABLE": "UNAVAILABLE",
    "LOGIN_THROTTLED": "RESOURCE_EXHAUSTED",
    "REVOCATIONS_STALE": "UNAVAILABLE",
    "CLOCK_WRONG": "UNAVAILABLE",
    "RESTORE_UNDECIDED": "UNAVAILABLE",
    "SESSION_LIMIT_REACHED": "FAILED_PRECONDITION",
    "SHUTTING_DOWN": "UNAVAILABLE",
    "DEADLINE_EXCEEDED": "DEADLINE_EXCEEDED",
    "INVALID_ARGUMENT": "INVALID_ARGUMENT",
    "USERNAME_TAKEN": "ALREADY_EXISTS",
    "USER_NOT_FOUND": "NOT_FOUND",
}


@dataclass(frozen=True)
class Refusal:
    """A status that is not OK, with its details read."""

    code: str
    reason: str
    fields: tuple
    retry_after: float | None


class Client:
    """One channel to one server."""

    def __init__(self, addr, seen, bearer=None):
        self.channel = grpc.insecure_channel(addr, options=[("grpc.enable_retries", 0)])
        self.metadata = [("authorization", f"Bearer {bearer}")] if bearer else []
        self.seen = seen
        self.health = health_pb2_grpc.HealthStub(self.channel)
        self.pool = DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))
        self._methods = None

    def is_serving(self, service=""):
        request = health_pb2.HealthCheckRequest(service=service)
        answer = self.health.Check(request, timeout=5, wait_for_ready=True)
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    def method(self, rpc):
        if self._methods is None:
            services = [self.pool.FindServiceByName(name) for name in SERVICES]
            self._methods = {method.name: method for service in services for method in service.methods}
        return self._methods[rpc]

    def start(self, rpc, /, timeout=20, metadata=(), **fields):
        """Begins a call; a future."""
        method = self.method(rpc)
        request = message_factory.GetMessageClass(method.input_type)(**fields)
        self.seen.add_message(request)
        answer = message_factory.GetMessageClass(method.output_type)
        path = f"/{method.containing_service.full_name}/{rpc}"
        stub = self.channel.unary_unary(path, lambda message: message.SerializeToString(), answer.FromString)
        return stub.future(request, timeout=timeout, metadata=[*self.metadata, *metadata])

    def call(self, rpc, /, **fields):
        """The answer; grpc.RpcError when there is none."""
        answer = self.start(rpc, **fields).result()
        self.seen.add_message(answer)
        return answer

    def stream(self, rpc, /, *messages, timeout=20):
        """The answer to a stream of messages, of which each is given by its fields."""
        method = self.method(rpc)
        kind = message_factory.GetMessageClass(method.input_type)
        requests = [kind(**fields) for fields in messages]
        for request in requests:
            self.seen.add_message(request)
        answer = message_factory.GetMessageClass(method.output_type)
        path = f"/{method.containing_service.full_name}/{rpc}"
        stub = self.channel.stream_unary(path, lambda message: message.SerializeToString(), answer.FromString)
        return stub(iter(requests), timeout=timeout, metadata=self.metadata)

    def refused(self, reason, rpc, /, **fields):
        """Calls, and checks that the refusal is the one that `reason` names."""
        error = self.start(rpc, **fields).exception()
        assert error is not None, f"{rpc} was accepted, expected {reason}"
        return expect(reason, error)

    def refused_bytes(self, reason, rpc, data):
        """The same for bytes that need be no message."""
        method = self.method(rpc)
        stub = self.channel.unary_unary(f"/{method.containing_service.full_name}/{rpc}")
        error = stub.future(data, timeout=20, metadata=self.metadata).exception()
        assert error is not None, f"{rpc} accepted bytes that are no message"
        return expect(reason, error)


def expect(reason, error):
    refusal = read(error)
    assert (refusal.code, refusal.reason) == (CODES[reason], reason), error
    return refusal


def read(error):
    """Reads the details of an error, which every error has to carry."""
    code = error.code().name
    blob = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    assert blob is not None, f"{code} without details: {error.details()}"
    status = status_pb2.Status.FromString(blob)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    info = only(status, error_details_pb2.ErrorInfo)
    assert info is not None, status
    assert info.domain == "countersign" and re.fullmatch("[A-Z][A-Z_]+[A-Z]", info.reason), info
    bad_request = only(status, error_details_pb2.BadRequest)
    assert (bad_request is not None) == (code == "INVALID_ARGUMENT"), status
    retry_info = only(status, error_details_pb2.RetryInfo)
    assert (retry_info is not None) == (code == "RESOURCE_EXHAUSTED"), status
    violations = bad_request.field_violations if bad_request else []
    assert all(violation.field and violation.description for violation in violations), status
    assert violations or not bad_request, status
    return Refusal(
        code,
        info.reason,
        tuple(violation.field for violation in violations),
        retry_info.retry_delay.ToTimedelta().total_seconds() if retry_info else None,
    )


def only(status, kind):
    """The detail of this kind; at most one is allowed."""
    details = [detail for detail in status.details if detail.Is(kind.DESCRIPTOR)]
    assert len(details) <= 1, status
    if not details:
        return None
    found = kind()
    assert details[0].Unpack(found)
    return found
