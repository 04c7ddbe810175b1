"""The calls of the contract, with deadlines, and retries where the contract says that these are safe."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from typing import Any, TypeVar

import grpc

from ._channels import connections
from ._proto import auth_pb2 as pb
from ._waits import TASK, THREAD, Waits, in_this_thread
from .errors import CountersignError, Unavailable, of_status

# Rounds through all replicas.
_ROUNDS = 2
_PAUSE = 0.05
_A = TypeVar("_A")


class Countersign:
    """Calls Countersign. Threads may share it, and tasks of all loops.

    Arguments of the calls are the fields of the requests of the contract. A call may take `deadline` seconds with all its
    retries. Each call has a twin for asyncio, such as `alogin`.
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
        return in_this_thread(self._call(THREAD, "Login", pb.LoginRequest(**fields), pb.LoginResponse))

    async def alogin(self, **fields: Any) -> pb.LoginResponse:
        """Does as `login` does."""
        return await self._call(TASK, "Login", pb.LoginRequest(**fields), pb.LoginResponse)

    def verify(self, **fields: Any) -> pb.VerifyResponse:
        """Asks the service whose an access token is. A Verifier knows that without a call."""
        return in_this_thread(self._call(THREAD, "Verify", pb.VerifyRequest(**fields), pb.VerifyResponse))

    async def averify(self, **fields: Any) -> pb.VerifyResponse:
        """Does as `verify` does."""
        return await self._call(TASK, "Verify", pb.VerifyRequest(**fields), pb.VerifyResponse)

    def verify_batch(self, **fields: Any) -> pb.VerifyBatchResponse:
        """Asks the service whose many access tokens are."""
        return in_this_thread(self._call(THREAD, "VerifyBatch", pb.VerifyBatchRequest(**fields), pb.VerifyBatchResponse))

    async def averify_batch(self, **fields: Any) -> pb.VerifyBatchResponse:
        """Does as `verify_batch` does."""
        return await self._call(TASK, "VerifyBatch", pb.VerifyBatchRequest(**fields), pb.VerifyBatchResponse)

    def refresh(self, **fields: Any) -> pb.RefreshResponse:
        """Exchanges a refresh token. A lost answer is asked for again with the same token."""
        return in_this_thread(self._call(THREAD, "Refresh", pb.RefreshRequest(**fields), pb.RefreshResponse))

    async def arefresh(self, **fields: Any) -> pb.RefreshResponse:
        """Does as `refresh` does."""
        return await self._call(TASK, "Refresh", pb.RefreshRequest(**fields), pb.RefreshResponse)

    def revoke(self, **fields: Any) -> pb.RevokeResponse:
        """Ends sessions."""
        return in_this_thread(self._call(THREAD, "Revoke", pb.RevokeRequest(**fields), pb.RevokeResponse))

    async def arevoke(self, **fields: Any) -> pb.RevokeResponse:
        """Does as `revoke` does."""
        return await self._call(TASK, "Revoke", pb.RevokeRequest(**fields), pb.RevokeResponse)

    def list_sessions(self, **fields: Any) -> pb.ListSessionsResponse:
        """Lists the live sessions of a user."""
        return in_this_thread(self._call(THREAD, "ListSessions", pb.ListSessionsRequest(**fields), pb.ListSessionsResponse))

    async def alist_sessions(self, **fields: Any) -> pb.ListSessionsResponse:
        """Does as `list_sessions` does."""
        return await self._call(TASK, "ListSessions", pb.ListSessionsRequest(**fields), pb.ListSessionsResponse)

    def get_jwks(self) -> pb.GetJwksResponse:
        """Reads the public keys."""
        return in_this_thread(self._call(THREAD, "GetJwks", pb.GetJwksRequest(), pb.GetJwksResponse))

    async def aget_jwks(self) -> pb.GetJwksResponse:
        """Does as `get_jwks` does."""
        return await self._call(TASK, "GetJwks", pb.GetJwksRequest(), pb.GetJwksResponse)

    async def _call(self, waits: Waits, method: str, request: Any, kind: type[_A]) -> _A:
        until = time.monotonic() + self._deadline
        count, first = len(self._connections), self._preferred
        last: CountersignError = Unavailable("UNREACHABLE")
        for attempt in range(max(count, 2) * _ROUNDS):
            place = (first + attempt) % count
            left = until - time.monotonic()
            if attempt > 0 and attempt % count == 0:
                await waits.pause(max(min(_PAUSE * random.uniform(0.5, 1.5), left), 0))
                left = until - time.monotonic()
            if left <= 0:
                break
            try:
                # One that hangs leaves time for the others.
                within = left / 2 if count > 1 else left
                answer: _A = await waits.call(self._connections[place], method, request, kind, within)
                self._preferred = place
                return answer
            except grpc.RpcError as status:
                last = of_status(status)
                # Whoever is asked to wait is not helped by asking at once.
                if status.code() == grpc.StatusCode.RESOURCE_EXHAUSTED or not isinstance(last, Unavailable):
                    raise last from None
        raise last
