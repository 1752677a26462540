"""What V2 over gRPC tells beside predictions: health, metadata, configuration, what serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from tritonclient.grpc import service_pb2 as v2

from medtower.domain.access import Caller
from medtower.domain.routing import Route
from medtower.gateway.observing.observed import Seen
from medtower.gateway.parts import Parts
from medtower.gateway.v2 import grpc_messages, metadata, problems, readiness
from medtower.gateway.v2.asking import named_by, pinned
from medtower.gateway.v2.grpc_calls import Context, caller_of, code

OPEN_HERE = ("ServerLive", "ServerReady")
Tell = Callable[[Any, Caller], Awaitable[Any]]
Method = Callable[[bytes, Context], Awaitable[bytes]]


class Descriptions:
    """These methods of the service, over `parts`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def methods(self) -> dict[str, Method]:
        """By name; messages come and go as bytes."""
        tells: dict[str, Tell] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._metadata,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "RepositoryIndex": self._index,
        }
        return {name: self._method(name, tell) for name, tell in tells.items()}

    def _method(self, name: str, tell: Tell) -> Method:
        async def method(content: bytes, context: Context) -> bytes:
            seen = Seen()
            try:
                caller = await caller_of(self._parts, context, seen, here=name in OPEN_HERE)
                message = await tell(grpc_messages.parsed(f"{name}Request", content), caller)
                return cast(bytes, message.SerializeToString())
            except Exception as error:
                status, said = problems.problem(error, seen)
            return cast(bytes, await context.abort(code(status), said))

        return method

    async def _live(self, _: Any, __: Caller) -> Any:
        return v2.ServerLiveResponse(live=True)

    async def _ready(self, _: Any, __: Caller) -> Any:
        return v2.ServerReadyResponse(ready=await readiness.server(self._parts))

    async def _model_ready(self, message: Any, caller: Caller) -> Any:
        route, version = self._addressed(message, caller)
        return v2.ModelReadyResponse(ready=await readiness.model(self._parts, route, version))

    async def _metadata(self, _: Any, caller: Caller) -> Any:
        caller.must("models")
        return v2.ServerMetadataResponse(**metadata.server())

    async def _model_metadata(self, message: Any, caller: Caller) -> Any:
        route, version = self._addressed(message, caller)
        return grpc_messages.model_metadata(route, named_by(route, version).contract)

    async def _model_config(self, message: Any, caller: Caller) -> Any:
        route, version = self._addressed(message, caller)
        return grpc_messages.model_config(route, named_by(route, version).contract)

    async def _index(self, message: Any, caller: Caller) -> Any:
        caller.must("models")
        return grpc_messages.index(self._parts.routing.table(), caller, ready=message.ready)

    def _addressed(self, message: Any, caller: Caller) -> tuple[Route, int]:
        caller.must("models", message.name)
        return self._parts.routing.route(message.name), pinned(message.version) if message.version else 0
