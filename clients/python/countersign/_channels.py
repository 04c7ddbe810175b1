"""The addresses of the service, and how they are reached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import grpc

from ._proto import auth_pb2 as pb
from .errors import Unavailable

_SERVICE = "/countersign.v1.AuthService/"
_OPTIONS = [
    ("grpc.primary_user_agent", "countersign-client-python/0.1.0"),
    # A connection over which nothing comes is asked whether it lives, and given up if it does not say.
    ("grpc.keepalive_time_ms", 2000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # The time to connect within, and the pauses between attempts.
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
]


class Connection:
    """A connection to one replica, made when it is used."""

    def __init__(self, url: str, credentials: grpc.ChannelCredentials | None, token: str | None) -> None:
        scheme, _, address = url.rpartition("://")
        address = address.rstrip("/")
        if scheme not in ("", "http", "https") or not address or "/" in address:
            raise ValueError(f"{url} is no address of Countersign")
        if scheme == "http" and credentials is not None:
            raise ValueError(f"{url} is without TLS, and credentials are given")
        if token is not None and not (token.isascii() and token.isprintable() and token and " " not in token):
            raise ValueError("the service token cannot be sent")
        self.name = url
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        if scheme == "https" or credentials is not None:
            self._channel = grpc.secure_channel(address, credentials or grpc.ssl_channel_credentials(), _OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address, _OPTIONS)
        self._watch = self._channel.unary_stream(
            _SERVICE + "WatchRevocations",
            pb.WatchRevocationsRequest.SerializeToString,
            pb.WatchRevocationsResponse.FromString,
        )
        self._methods: dict[str, Callable[..., Any]] = {}

    def watch(self, position: str) -> Any:
        """Begins to hear of revocations."""
        return self._watch(pb.WatchRevocationsRequest(position=position), metadata=self._metadata)

    def _method(self, method: str, request: Any, kind: Any) -> Any:
        found = self._methods.get(method)
        if found is None:
            found = self._channel.unary_unary(_SERVICE + method, type(request).SerializeToString, kind.FromString)
            self._methods[method] = found
        return found

    def call(self, method: str, request: Any, kind: Any, timeout: float) -> Any:
        """Makes a call, whose answer is of a kind."""
        try:
            return self._method(method, request, kind)(request, timeout=timeout, metadata=self._metadata)
        except ValueError:
            raise Unavailable("CLOSED") from None

    async def acall(self, method: str, request: Any, kind: Any, timeout: float) -> Any:
        """Makes a call from a task, of whatever loop. If the task is cancelled, so is the call."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def tell(_: Any) -> None:
            try:
                loop.call_soon_threadsafe(ended.set)
            except RuntimeError:
                # The loop was closed, and with it whoever waited.
                pass

        try:
            call = self._method(method, request, kind).future(request, timeout=timeout, metadata=self._metadata)
        except ValueError:
            raise Unavailable("CLOSED") from None
        call.add_done_callback(tell)
        try:
            await ended.wait()
        finally:
            call.cancel()
        if call.code() is not grpc.StatusCode.OK:
            raise call
        return call.result()

    def close(self) -> None:
        self._channel.close()


def connections(
    endpoints: str | Iterable[str], credentials: grpc.ChannelCredentials | None, token: str | None
) -> tuple[Connection, ...]:
    """Makes connections to all replicas."""
    urls = [endpoints] if isinstance(endpoints, str) else list(endpoints)
    if not urls:
        raise ValueError("no address of Countersign is given")
    return tuple(Connection(url, credentials, token) for url in urls)
