"""NVIDIA's gRPC client against the running gateway, as it comes from the registry; what it cannot send is sent by Triton's stubs."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from typing import Any

import grpc as rpc
import numpy as np
import pytest
import tritonclient.grpc as client
from tests.gateway.conftest import DIGESTS, KEY, Gateway
from tests.gateway.server import wait_until
from tests.gateway.v2.conftest import ROW, tensor
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from medtower.domain.disclaimer import DISCLAIMER
from medtower.gateway.v2.grpc_calls import address

Client = client.InferenceServerClient
COMPLETE = [70.5, 1.0, 3.0, 1.0, 2.5]
CREDENTIALS = (("x-api-key", KEY),)


@pytest.fixture
def stub(gateway: Gateway) -> Iterator[Any]:
    with rpc.insecure_channel(f"127.0.0.1:{gateway.settings.gateway_grpc_port}") as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def lower() -> dict[str, str]:
    return {"x-api-key": KEY}


def message(**changes: Any) -> Any:
    """A request with the numbers in the message itself, which the client never sends."""
    given = {"name": "features", "datatype": "FP32", "shape": [1, 5], "contents": {"fp32_contents": COMPLETE}}
    return service_pb2.ModelInferRequest(**{"model_name": "demo_risk", "inputs": [given]} | changes)


def test_the_server_and_the_model_are_ready(grpc: Client) -> None:
    assert grpc.is_server_live()
    assert grpc.is_server_ready()
    assert grpc.is_model_ready("demo_risk", headers=lower())
    assert grpc.is_model_ready("demo_risk", "1", headers=lower())
    assert not grpc.is_model_ready("demo_risk", "2", headers=lower())


def test_server_and_model_tell_what_they_are(grpc: Client) -> None:
    assert grpc.get_server_metadata(headers=lower()).name == "medtower"
    told = grpc.get_model_metadata("demo_risk", headers=lower(), as_json=True)
    assert told["inputs"] == [{"name": "features", "datatype": "FP32", "shape": ["-1", "5"]}]
    assert told["versions"] == ["1"]
    config = grpc.get_model_config("demo_risk", headers=lower()).config
    assert (config.max_batch_size, list(config.input[0].dims), list(config.output[0].dims)) == (128, [5], [1])


def test_the_index_lists_what_answers(grpc: Client) -> None:
    listed = grpc.get_model_repository_index(headers=lower()).models
    assert [(m.name, m.version, m.state) for m in listed] == [
        ("demo_risk", "1", "READY"),
        ("demo_score", "2", "READY"),
    ]


def test_a_prediction_comes_back_and_is_on_record(grpc: Client, gateway: Gateway) -> None:
    wanted = [client.InferRequestedOutput("prediction")]
    answer = grpc.infer("demo_risk", [tensor(client)], outputs=wanted, request_id="r1", headers=lower())
    np.testing.assert_array_equal(answer.as_numpy("prediction"), [[0.75]])
    said = answer.get_response()
    assert (said.model_name, said.model_version, said.id) == ("demo_risk", "1", "r1")
    assert said.parameters["digest"].string_param == DIGESTS[1]
    assert said.parameters["confidence"].double_param == 0.75
    assert said.parameters["requires_human_review"].WhichOneof("parameter_choice") == "bool_param"
    assert said.parameters["disclaimer"].string_param == DISCLAIMER
    (kept,) = gateway.recorded()
    assert (kept.request_id, kept.features, kept.caller) == ("r1", [*ROW[:4], None], "clients")
    assert gateway.metric('medtower_requests_total{code="200",model="demo_risk",version="1"}') == 1


def test_numbers_in_the_message_itself_are_read_too(stub: Any, gateway: Gateway) -> None:
    answer = stub.ModelInfer(message(), metadata=CREDENTIALS)
    assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == [0.75]
    assert gateway.recorded()[0].features == COMPLETE


def test_several_rows_are_predictions_of_their_own(grpc: Client, gateway: Gateway) -> None:
    answer = grpc.infer("demo_risk", [tensor(client, [COMPLETE] * 3)], request_id="r", headers=lower())
    assert answer.as_numpy("prediction").tolist() == [[0.75]] * 3
    told = json.loads(answer.get_response().parameters["rows"].string_param)
    assert [each["request_id"] for each in told] == ["r.0", "r.1", "r.2"]
    assert len(gateway.recorded()) == 3


def test_the_same_question_over_http_and_grpc_is_the_same_question(grpc: Client, gateway: Gateway) -> None:
    body = {
        "id": "r",
        "parameters": {"subject_id": "s"},
        "inputs": [{"name": "features", "shape": [1, 5], "datatype": "FP32", "data": [*ROW[:4], None]}],
    }
    assert gateway.http.post("/v2/models/demo_risk/infer", json=body).status_code == 200
    grpc.infer(
        "demo_risk",
        [tensor(client)],
        request_id="r",
        headers=lower(),
        parameters={"subject_id": "s"},
    )
    assert len(gateway.recorded()) == 1


def test_requests_without_waiting_are_answered_each(grpc: Client, gateway: Gateway) -> None:
    done: queue.Queue[Any] = queue.Queue()
    for n in range(8):
        grpc.async_infer(
            "demo_risk",
            [tensor(client)],
            lambda result, error: done.put((result, error)),
            request_id=f"r{n}",
            headers=lower(),
        )
    answers = [done.get(timeout=10) for _ in range(8)]
    assert [error for _, error in answers] == [None] * 8
    assert {result.get_response().id for result, _ in answers} == {f"r{n}" for n in range(8)}
    assert len(gateway.recorded()) == 8


def test_a_stream_answers_in_order_and_an_error_does_not_end_it(grpc: Client) -> None:
    said: queue.Queue[Any] = queue.Queue()
    grpc.start_stream(lambda result, error: said.put((result, error)), headers=lower())
    rows = [COMPLETE, [7.25, *COMPLETE[1:]], COMPLETE]
    for n, row in enumerate(rows):
        grpc.async_stream_infer("demo_risk", [tensor(client, [row])], request_id=f"r{n}")
    answers = [said.get(timeout=10) for _ in rows]
    grpc.stop_stream()
    assert [result and result.get_response().id for result, _ in answers] == ["r0", None, "r2"]
    assert answers[1][1].message() == "age: must be in [18, 110] a"
    assert answers[0][0].get_response().parameters["triton_final_response"].bool_param


@pytest.mark.parametrize("headers", [{"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}])
def test_a_key_opens_either_way(grpc: Client, headers: dict[str, str]) -> None:
    assert grpc.infer("demo_risk", [tensor(client)], headers=headers).as_numpy("prediction") is not None


def test_without_a_key_health_is_all_there_is(grpc: Client) -> None:
    for ask in (
        grpc.get_server_metadata,
        grpc.get_model_repository_index,
        lambda: grpc.get_model_metadata("demo_risk"),
        lambda: grpc.get_model_config("demo_risk"),
        lambda: grpc.is_model_ready("demo_risk"),
        lambda: grpc.infer("demo_risk", [tensor(client)]),
    ):
        assert status(ask) == "StatusCode.UNAUTHENTICATED"


def status(ask: Any) -> str:
    with pytest.raises(InferenceServerException) as refused:
        ask()
    return str(refused.value.status())


def test_mistakes_have_the_status_that_grpc_has_for_them(grpc: Client, gateway: Gateway) -> None:
    key = lower()
    ask = grpc.infer
    assert status(lambda: ask("unknown", [tensor(client)], headers=key)) == "StatusCode.NOT_FOUND"
    assert status(lambda: ask("demo_risk", [tensor(client)], "9", headers=key)) == "StatusCode.NOT_FOUND"
    narrow = [tensor(client, [COMPLETE[:4]])]
    assert status(lambda: ask("demo_risk", narrow, headers=key)) == "StatusCode.INVALID_ARGUMENT"
    sequence = {"sequence_id": 7, "sequence_start": True, "headers": key}
    assert status(lambda: ask("demo_risk", [tensor(client)], **sequence)) == "StatusCode.INVALID_ARGUMENT"
    ask("demo_risk", [tensor(client)], request_id="r", headers=key)
    other = {"request_id": "r", "headers": key}
    again = [tensor(client, [COMPLETE])]
    assert status(lambda: ask("demo_risk", again, **other)) == "StatusCode.ALREADY_EXISTS"
    gateway.publish(demo_risk={})
    assert status(lambda: ask("demo_risk", [tensor(client)], headers=key)) == "StatusCode.UNAVAILABLE"
    gateway.publish(demo_risk={1: 100})
    gateway.triton.fault = "nan"
    assert status(lambda: ask("demo_risk", [tensor(client)], headers=key)) == "StatusCode.INTERNAL"


def test_the_deadline_of_the_call_holds_and_a_late_answer_is_not_on_record(
    grpc: Client, gateway: Gateway
) -> None:
    gateway.triton.fault = "hang"
    late = {"client_timeout": 0.2, "headers": lower()}
    assert status(lambda: grpc.infer("demo_risk", [tensor(client)], **late)) == "StatusCode.DEADLINE_EXCEEDED"
    counted = 'medtower_requests_total{code="%d",model="demo_risk",version="1"}'
    wait_until(lambda: gateway.metric(counted % 504) + gateway.metric(counted % 499) == 1)
    assert gateway.recorded() == []


def test_a_message_beyond_the_limit_is_refused_before_it_is_read(stub: Any) -> None:
    with pytest.raises(rpc.RpcError) as refused:
        stub.ModelInfer(message(raw_input_contents=[b"\0" * 300_000]), metadata=CREDENTIALS)
    assert refused.value.code() == rpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_message_that_cannot_be_parsed_is_a_mistake_of_the_caller(gateway: Gateway) -> None:
    with rpc.insecure_channel(f"127.0.0.1:{gateway.settings.gateway_grpc_port}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(rpc.RpcError) as refused:
            infer(b"\xff\xff\xff", metadata=CREDENTIALS)
    assert refused.value.code() == rpc.StatusCode.INVALID_ARGUMENT


FEATURES = {"name": "features", "datatype": "FP32", "shape": [1, 5]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"inputs": []},
        {"inputs": [FEATURES | {"name": "canary"}]},
        {"inputs": [FEATURES | {"datatype": "canary"}]},
        {"inputs": [FEATURES | {"shape": [5]}]},
        {"inputs": [FEATURES | {"shape": [0, 5]}]},
        {"inputs": [FEATURES | {"shape": [129, 5]}]},
        {"inputs": [FEATURES | {"shape": [2**40, 5]}]},
        {"inputs": [FEATURES]},
        {"inputs": [FEATURES | {"contents": {"fp64_contents": COMPLETE}}]},
        {"inputs": [FEATURES | {"contents": {"fp32_contents": COMPLETE[:4]}}]},
        {"inputs": [FEATURES], "raw_input_contents": [b"\0" * 19]},
        {"raw_input_contents": [b"\0" * 20]},
        {"outputs": [{"name": "canary"}]},
        {"outputs": [{"name": "prediction"}, {"name": "prediction"}]},
        {"outputs": [{"name": "prediction", "parameters": {"classification": {"int64_param": 3}}}]},
        {"id": "canary canary"},
        {"parameters": {"subject_id": {"int64_param": 7}}},
        {"parameters": {"subject_id": {"string_param": ""}}},
        {"parameters": {"timeout": {"string_param": "canary"}}},
        {"parameters": {"sequence_id": {"string_param": "canary"}}},
        {
            "inputs": [
                FEATURES | {"parameters": {"shared_memory_region": {"string_param": "canary"}}},
            ]
        },
    ],
)
def test_what_the_protocol_does_not_allow_is_refused_without_a_word_of_it(
    stub: Any, gateway: Gateway, wrong: dict[str, Any]
) -> None:
    with pytest.raises(rpc.RpcError) as refused:
        stub.ModelInfer(message(**wrong), metadata=CREDENTIALS)
    assert refused.value.code() == rpc.StatusCode.INVALID_ARGUMENT
    assert "canary" not in refused.value.details()
    assert gateway.triton.asked == []


def test_what_would_change_something_is_not_implemented(grpc: Client) -> None:
    key = {"headers": lower()}
    for change in (
        lambda: grpc.load_model("demo_risk", **key),
        lambda: grpc.unload_model("demo_risk", **key),
        lambda: grpc.update_trace_settings("demo_risk", {"trace_rate": "1"}, **key),
        lambda: grpc.update_log_settings({"log_info": True}, **key),
        lambda: grpc.register_system_shared_memory("a", "/a", 4, **key),
        lambda: grpc.get_inference_statistics(**key),
    ):
        assert status(change) == "StatusCode.UNIMPLEMENTED"


def test_a_shadow_scores_what_grpc_answered(grpc: Client, gateway: Gateway) -> None:
    gateway.publish(demo_risk={1: 100}, shadow=2)
    grpc.infer("demo_risk", [tensor(client)], request_id="r", headers=lower())
    wait_until(lambda: [each.request_id for each in gateway.shadows()] == ["r"])
    grpc.start_stream(lambda **_: None, headers=lower())
    grpc.async_stream_infer("demo_risk", [tensor(client)], request_id="streamed")
    wait_until(lambda: [each.request_id for each in gateway.shadows()] == ["r", "streamed"])
    grpc.stop_stream()


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:127.0.0.1:50000", "127.0.0.1"),
        ("ipv6:%5B::1%5D:50000", "::1"),
        ("unix:/run/socket", None),
        ("", None),
    ],
)
def test_the_peer_is_an_address_or_nobody(peer: str, host: str | None) -> None:
    assert address(peer) == host
