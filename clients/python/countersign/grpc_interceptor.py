"""Interceptors of servers of grpc and grpc.aio."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context, ContextVar, copy_context
from typing import Any

import grpc
import grpc.aio

from ._bearer import bearer
from ._status import refusal
from .errors import CountersignError
from .knowledge import Demand
from .tokens import Principal
from .verifier import Verifier

_CURRENT: ContextVar[Principal | None] = ContextVar("countersign_principal", default=None)


def current_principal() -> Principal | None:
    """Gives the user and session of the call that is being handled; None at methods that are public."""
    return _CURRENT.get()


class _Guard:
    """What is demanded of calls, by the full names of methods such as `/grpc.health.v1.Health/Check`."""

    def __init__(
        self,
        verifier: Verifier,
        public: Iterable[str] = (),
        demands: Mapping[str, Demand] | None = None,
        demand: Demand | None = None,
    ) -> None:
        """Guards all methods but those that are `public`. `demand` is for all of them, `demands` for those with their own."""
        if isinstance(public, str):
            raise TypeError("public is a collection of methods")
        self._verifier, self._demand = verifier, demand
        self._public, self._demands = frozenset(public), dict(demands or {})

    def _is_public(self, details: Any) -> bool:
        return details.method in self._public

    def _demand_of(self, details: Any) -> Demand | None:
        return self._demands.get(details.method, self._demand)


def _token(details: Any) -> str:
    return bearer([value for name, value in details.invocation_metadata or () if name == "authorization"])


class Interceptor(_Guard, grpc.ServerInterceptor):
    """Lets in calls with a valid token, at a server of grpc."""

    def intercept_service(self, continuation: Callable[..., Any], details: Any) -> Any:
        handler = continuation(details)
        if handler is None or self._is_public(details):
            return handler

        def enter(context: Any) -> Context:
            # In the thread of the call: this one accepts those of all.
            try:
                return _context_of(self._verifier.verify(_token(details), self._demand_of(details)))
            except CountersignError as error:
                code, message, trailers = refusal(error)
                context.set_trailing_metadata(trailers)
                context.abort(code, message)
                raise

        return _guarded(handler, enter)


class AioInterceptor(_Guard, grpc.aio.ServerInterceptor):
    """Lets in calls with a valid token, at a server of grpc.aio."""

    async def intercept_service(self, continuation: Callable[..., Any], details: Any) -> Any:
        if self._is_public(details):
            return await continuation(details)
        try:
            principal = await self._verifier.averify(_token(details), self._demand_of(details))
        except CountersignError as error:
            return _refuser(error)
        # Each call is a task of its own, so nobody else sees this.
        _CURRENT.set(principal)
        handler = await continuation(details)
        if handler is None or _is_async(_behaviour(handler)):
            return handler
        # It will run in another thread.
        return _guarded(handler, lambda _: _context_of(principal))


def _refuser(error: CountersignError) -> Any:
    # Of streams, which does not wait for a message.
    async def refuse(_: Any, context: Any) -> Any:
        code, message, trailers = refusal(error)
        await context.abort(code, message, trailers)
        yield

    return grpc.stream_stream_rpc_method_handler(refuse)


def _context_of(principal: Principal) -> Context:
    context = copy_context()
    context.run(_CURRENT.set, principal)
    return context


def _behaviour(handler: Any) -> Any:
    return handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream


def _is_async(behaviour: Any) -> bool:
    if not (inspect.isfunction(behaviour) or inspect.ismethod(behaviour)):
        behaviour = getattr(behaviour, "func", behaviour)
    return inspect.iscoroutinefunction(behaviour) or inspect.isasyncgenfunction(behaviour)


def _guarded(handler: Any, enter: Callable[[Any], Context]) -> Any:
    """Makes a handler that runs in the context that `enter` gives."""
    behaviour = _behaviour(handler)

    def answer(request: Any, context: Any) -> Any:
        return enter(context).run(behaviour, request, context)

    def answers(request: Any, context: Any) -> Any:
        own = enter(context)
        given = iter(own.run(behaviour, request, context))
        end = object()
        while (one := own.run(next, given, end)) is not end:
            yield one

    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[(handler.request_streaming, handler.response_streaming)]
    guarded = answers if handler.response_streaming else answer
    return make(guarded, handler.request_deserializer, handler.response_serializer)
