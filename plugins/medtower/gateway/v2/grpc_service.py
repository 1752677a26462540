"""`inference.GRPCInferenceService`: the same questions and answers as under /v2, as gRPC has them. What is not here answers UNIMPLEMENTED."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import grpc
from tritonclient.grpc import service_pb2 as v2

from medtower.errors import MedtowerError
from medtower.gateway.answering.plan import plan_of
from medtower.gateway.answering.predict import Answered, copied
from medtower.gateway.observing.observed import Seen
from medtower.gateway.parts import Parts
from medtower.gateway.rest.body import GONE
from medtower.gateway.v2 import grpc_messages, problems
from medtower.gateway.v2.asking import answers, named_by, pinned
from medtower.gateway.v2.grpc_calls import Context, caller_of, code, headers_of
from medtower.gateway.v2.grpc_descriptions import Descriptions

SERVICE = "inference.GRPCInferenceService"
SILENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Response:
    """A ModelInferResponse, and what a shadow may score when it has left."""

    message: Any
    answered: Sequence[Answered]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is none, with the status that HTTP would have."""

    status: int
    message: str


class InferenceService:
    """The methods of the service over `parts`. Messages come and go as bytes, so that one that cannot be parsed is answered like every other mistake."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._copying: set[asyncio.Task[None]] = set()

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server is given."""
        methods = {
            name: grpc.unary_unary_rpc_method_handler(method)
            for name, method in Descriptions(self._parts).methods().items()
        }
        methods["ModelInfer"] = grpc.unary_unary_rpc_method_handler(self.infer)
        methods["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self.stream)
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def infer(self, content: bytes, context: Context) -> bytes:
        """ModelInfer. When the answer leaves, its record is on the disk; the call's deadline holds."""
        said = await self._said(content, context)
        if isinstance(said, Refusal):
            return cast(bytes, await context.abort(code(said.status), said.message))
        if any(each.inferred and each.inferred.shadow for each in said.answered):
            context.add_done_callback(lambda _: self._copy(said.answered))
        return cast(bytes, said.message.SerializeToString())

    async def stream(self, contents: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """ModelStreamInfer: one answer or error for each request, in their order. Without a login, and when no request comes for a minute, it ends."""
        await self._admitted(context)
        while (content := await self._next(contents, context)) is not None:
            said = await self._said(content, context)
            if isinstance(said, Refusal):
                yield v2.ModelStreamInferResponse(error_message=said.message).SerializeToString()
                continue
            said.message.parameters["triton_final_response"].bool_param = True
            yield v2.ModelStreamInferResponse(infer_response=said.message).SerializeToString()
            await self._copied(said.answered)

    async def _admitted(self, context: Context) -> None:
        seen = Seen()
        try:
            await caller_of(self._parts, context, seen)
        except MedtowerError as error:
            status, message = problems.problem(error, seen)
            await context.abort(code(status), message)

    async def _next(self, contents: AsyncIterator[bytes], context: Context) -> bytes | None:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                return await anext(contents, None)
        except TimeoutError:
            return cast(None, await context.abort(code(408), "no request came for a minute"))

    async def _said(self, content: bytes, context: Context) -> Response | Refusal:
        observer = self._parts.observer
        seen, start, status = observer.begin(headers_of(context)), time.perf_counter(), GONE
        try:
            response = await self._response(content, context, seen)
            status = 200
            return response
        except Exception as error:
            status, message = problems.problem(error, seen)
            return Refusal(status, message)
        finally:  # also when the caller hung up or its deadline passed: then this task is cancelled
            observer.end(seen, status, time.perf_counter() - start)

    async def _response(self, content: bytes, context: Context, seen: Seen) -> Response:
        caller = await caller_of(self._parts, context, seen)
        message = grpc_messages.parsed("ModelInferRequest", content)
        caller.must("predict", message.model_name)
        version = pinned(message.model_version) if message.model_version else 0
        route = self._parts.routing.route(message.model_name)
        seen.model = route.model
        width = plan_of(named_by(route, version).contract).width
        asked = grpc_messages.question(message, width, version, context.time_remaining())
        self._parts.access.charge(caller, len(asked.rows), time.time())
        answered = await answers(self._parts, route, asked, seen)
        return Response(
            grpc_messages.answer(route.model, asked, [each.answer for each in answered]), answered
        )

    def _copy(self, answered: Sequence[Answered]) -> None:
        task = asyncio.get_running_loop().create_task(self._copied(answered))
        self._copying.add(task)
        task.add_done_callback(self._copying.discard)

    async def _copied(self, answered: Sequence[Answered]) -> None:
        for each in answered:
            await copied(self._parts, each)
