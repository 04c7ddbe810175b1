"""The calls of the contract, with deadlines, and retries where the contract says that these are safe."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from typing import Any, TypeVar

import grpc

from ._channels import connections
from ._proto import auth_pb2 as pb
from .errors import CountersignError, Unavailable, of_status

# Rounds through all replicas.
_ROUNDS = 2
_PAUSE = 0.05
_A = TypeVar("_A")


class Countersign:
    """Calls Countersign. Threads may share it.

    Arguments of the calls are the fields of the requests of the contract. A call may take `deadline` seconds with all its
    retries.
    """

    def __init__(
        self,
        endpoints: str | Iterable[str],
        *,
        deadline: float = 5.0,
        credentials: grpc.ChannelCredentials | None = None,
        service_token: str | None = None,
    ) -> None:
        self._connections = connections(endpoints, credentials, service_token)
        self._deadline = deadline
        # The replica that answered last.
        self._preferred = 0

    def close(self) -> None:
        """Ends the connections."""
        for connection in self._connections:
            connection.close()

    def __enter__(self) -> Countersign:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def login(self, **fields: Any) -> pb.LoginResponse:
        """Checks a password and opens a session. A lost answer leaves a session that nobody holds."""
        return self._call("Login", pb.LoginRequest(**fields), pb.LoginResponse)

    def verify(self, **fields: Any) -> pb.VerifyResponse:
        """Asks the service whose an access token is. A Verifier knows that without a call."""
        return self._call("Verify", pb.VerifyRequest(**fields), pb.VerifyResponse)

    def verify_batch(self, **fields: Any) -> pb.VerifyBatchResponse:
        """Asks the service whose many access tokens are."""
        return self._call("VerifyBatch", pb.VerifyBatchRequest(**fields), pb.VerifyBatchResponse)

    def refresh(self, **fields: Any) -> pb.RefreshResponse:
        """Exchanges a refresh token. A lost answer is asked for again with the same token."""
        return self._call("Refresh", pb.RefreshRequest(**fields), pb.RefreshResponse)

    def revoke(self, **fields: Any) -> pb.RevokeResponse:
        """Ends sessions."""
        return self._call("Revoke", pb.RevokeRequest(**fields), pb.RevokeResponse)

    def list_sessions(self, **fields: Any) -> pb.ListSessionsResponse:
        """Lists the live sessions of a user."""
        return self._call("ListSessions", pb.ListSessionsRequest(**fields), pb.ListSessionsResponse)

    def get_jwks(self) -> pb.GetJwksResponse:
        """Reads the public keys."""
        return self._call("GetJwks", pb.GetJwksRequest(), pb.GetJwksResponse)

    def _call(self, method: str, request: Any, kind: type[_A]) -> _A:
        until = time.monotonic() + self._deadline
        count, first = len(self._connections), self._preferred
        last: CountersignError = Unavailable("UNREACHABLE")
        for attempt in range(max(count, 2) * _ROUNDS):
            place = (first + attempt) % count
            left = until - time.monotonic()
            if attempt > 0 and attempt % count == 0:
                time.sleep(max(min(_PAUSE * random.uniform(0.5, 1.5), left), 0))
                left = until - time.monotonic()
            if left <= 0:
                break
            try:
                # One that hangs leaves time for the others.
                answer: _A = self._connections[place].call(method, request, kind, left / 2 if count > 1 else left)
                self._preferred = place
                return answer
            except grpc.RpcError as status:
                last = of_status(status)
                # Whoever is asked to wait is not helped by asking at once.
                if status.code() == grpc.StatusCode.RESOURCE_EXHAUSTED or not isinstance(last, Unavailable):
                    raise last from None
        raise last
