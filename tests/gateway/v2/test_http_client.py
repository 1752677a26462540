"""NVIDIA's HTTP client against the running gateway, as it comes from the registry."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tritonclient.http as client
from tests.gateway.conftest import DIGESTS, KEY, Gateway
from tests.gateway.server import wait_until
from tests.gateway.v2.conftest import ROW, login, tensor
from tritonclient.utils import InferenceServerException

from medtower.domain.disclaimer import DISCLAIMER

Client = client.InferenceServerClient
COMPLETE = [70.5, 1.0, 3.0, 1.0, 2.5]


def test_the_server_is_live_and_ready(http: Client) -> None:
    assert http.is_server_live()
    assert http.is_server_ready()


def test_a_server_without_a_routing_table_is_live_and_not_ready(http: Client, gateway: Gateway) -> None:
    gateway.settings.path("routing").unlink()
    gateway.app.state.parts.routing._table = None
    assert http.is_server_live()
    assert not http.is_server_ready()


def test_the_server_names_itself_and_only_the_extensions_that_it_has(http: Client) -> None:
    told = http.get_server_metadata(headers=login())
    assert told["name"] == "medtower"
    assert told["extensions"] == ["binary_tensor_data", "model_configuration", "parameters"]


def test_a_model_tells_its_tensors_and_its_versions(http: Client) -> None:
    assert http.is_model_ready("demo_risk", headers=login())
    assert http.is_model_ready("demo_risk", "1", headers=login())
    told = http.get_model_metadata("demo_risk", headers=login())
    assert told["versions"] == ["1"]
    assert told["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 5]}]
    assert told["outputs"] == [{"name": "prediction", "datatype": "FP32", "shape": [-1, 1]}]
    assert http.get_model_metadata("demo_risk", "1", headers=login()) == told


def test_a_version_or_a_model_that_serves_nobody_is_not_there(http: Client) -> None:
    assert not http.is_model_ready("demo_risk", "2", headers=login())
    assert not http.is_model_ready("unknown", headers=login())
    with pytest.raises(InferenceServerException, match="pinned version") as refused:
        http.get_model_metadata("demo_risk", "2", headers=login())
    assert refused.value.status() == "404"


def test_a_model_tells_its_configuration_as_triton_does(http: Client) -> None:
    told = http.get_model_config("demo_risk", headers=login())
    assert told["max_batch_size"] == 128
    assert told["input"] == [{"name": "features", "data_type": "TYPE_FP32", "dims": [5]}]
    assert told["output"] == [{"name": "prediction", "data_type": "TYPE_FP32", "dims": [1]}]


def test_the_index_lists_what_answers_and_what_does_not(http: Client, gateway: Gateway) -> None:
    gateway.publish(demo_risk={1: 100}, demo_score={})
    ready = {"name": "demo_risk", "version": "1", "state": "READY", "reason": ""}
    assert http.get_model_repository_index(headers=login()) == [
        ready,
        {
            "name": "demo_score",
            "version": "",
            "state": "UNAVAILABLE",
            "reason": "withdrawn after an incident",
        },
    ]
    asked = gateway.http.post("/v2/repository/index", json={"ready": True})
    assert asked.json() == [ready]


@pytest.mark.parametrize("binary", [True, False])
def test_a_prediction_comes_back_and_is_on_record(http: Client, gateway: Gateway, binary: bool) -> None:
    outputs = [client.InferRequestedOutput("prediction", binary_data=binary)]
    asked = tensor(client, [COMPLETE], binary=binary)
    answer = http.infer("demo_risk", [asked], outputs=outputs, request_id="r1", headers=login())
    np.testing.assert_array_equal(answer.as_numpy("prediction"), [[0.75]])
    said = answer.get_response()
    assert (said["model_name"], said["model_version"], said["id"]) == ("demo_risk", "1", "r1")
    assert said["parameters"] == {
        "digest": DIGESTS[1],
        "confidence": 0.75,
        "requires_human_review": False,
        "label": "event",
        "unit": "{probability}",
        "disclaimer": DISCLAIMER,
    }
    (kept,) = gateway.recorded()
    assert (kept.request_id, kept.features) == ("r1", COMPLETE)
    assert gateway.metric('medtower_requests_total{code="200",model="demo_risk",version="1"}') == 1


def test_without_a_word_about_outputs_the_client_gets_bytes(http: Client) -> None:
    answer = http.infer("demo_risk", [tensor(client)], headers=login())
    assert answer.get_output("prediction")["parameters"] == {"binary_data_size": 4}
    np.testing.assert_array_equal(answer.as_numpy("prediction"), [[0.75]])


def test_nan_in_bytes_is_a_missing_value(http: Client, gateway: Gateway) -> None:
    http.infer("demo_risk", [tensor(client)], headers=login())
    assert gateway.recorded()[0].features == [*ROW[:4], None]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_a_compressed_request_is_unpacked(http: Client, algorithm: str, binary: bool) -> None:
    answer = http.infer(
        "demo_risk",
        [tensor(client, [COMPLETE], binary=binary)],
        headers=login(),
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    np.testing.assert_array_equal(answer.as_numpy("prediction"), [[0.75]])


def test_requests_without_waiting_are_answered_each(http: Client, gateway: Gateway) -> None:
    waiting = [
        http.async_infer("demo_risk", [tensor(client)], request_id=f"r{n}", headers=login()) for n in range(8)
    ]
    assert [each.get_result().get_response()["id"] for each in waiting] == [f"r{n}" for n in range(8)]
    assert len(gateway.recorded()) == 8


def test_every_row_of_a_request_is_a_prediction_of_its_own(http: Client, gateway: Gateway) -> None:
    rows = [[40.0 + n, 0.0, 1.0, 0.0, 1.0] for n in range(3)]
    answer = http.infer("demo_risk", [tensor(client, rows)], request_id="r", headers=login())
    assert answer.as_numpy("prediction").tolist() == [[0.75]] * 3
    said = answer.get_response()["parameters"]
    told = json.loads(said["rows"])
    assert [each["request_id"] for each in told] == ["r.0", "r.1", "r.2"]
    assert {each["version"] for each in told} == {1}
    assert (said["confidence"], said["requires_human_review"], said["digest"]) == (0.75, False, DIGESTS[1])
    kept = sorted(gateway.recorded(), key=lambda each: each.request_id)
    assert [each.features[0] for each in kept] == [40, 41, 42]
    assert len({each.subject for each in kept}) == 1


def test_without_an_id_the_request_gets_one_that_its_record_has_too(http: Client, gateway: Gateway) -> None:
    answer = http.infer("demo_risk", [tensor(client)], headers=login())
    assert answer.get_response()["id"] == gateway.recorded()[0].request_id


def test_the_same_id_gets_the_same_answer_and_another_question_under_it_is_refused(
    http: Client, gateway: Gateway
) -> None:
    first = http.infer("demo_risk", [tensor(client)], request_id="r", headers=login())
    gateway.triton.value = 0.25
    again = http.infer("demo_risk", [tensor(client)], request_id="r", headers=login())
    assert again.as_numpy("prediction") == first.as_numpy("prediction")
    with pytest.raises(InferenceServerException) as refused:
        http.infer("demo_risk", [tensor(client, [COMPLETE])], request_id="r", headers=login())
    assert refused.value.status() == "409"
    assert len(gateway.recorded()) == 1


def test_an_id_that_the_gateway_gave_cannot_be_chosen(http: Client, gateway: Gateway) -> None:
    given = str(http.infer("demo_risk", [tensor(client)], headers=login()).get_response()["id"])
    with pytest.raises(InferenceServerException) as refused:
        http.infer("demo_risk", [tensor(client)], request_id=given, headers=login())
    assert refused.value.status() == "409"
    assert len(gateway.recorded()) == 1


def test_a_patient_stays_on_its_arm_and_a_pin_on_the_other_is_refused(http: Client, gateway: Gateway) -> None:
    gateway.publish(demo_risk={1: 50, 2: 50})
    seen = set()
    for n in range(20):
        patient = {"subject_id": f"s{n}"}
        answer = http.infer("demo_risk", [tensor(client)], headers=login(), parameters=patient)
        version = answer.get_response()["model_version"]
        seen.add(version)
        pinned = http.infer("demo_risk", [tensor(client)], version, headers=login(), parameters=patient)
        assert pinned.get_response()["model_version"] == version
        other = "2" if version == "1" else "1"
        with pytest.raises(InferenceServerException, match="what routing gives this subject") as refused:
            http.infer("demo_risk", [tensor(client)], other, headers=login(), parameters=patient)
        assert refused.value.status() == "404"
    assert seen == {"1", "2"}


def test_a_sequence_is_refused(http: Client) -> None:
    with pytest.raises(InferenceServerException, match="no model here has a state") as refused:
        http.infer("demo_risk", [tensor(client)], sequence_id=7, sequence_start=True, headers=login())
    assert refused.value.status() == "400"


def test_a_value_out_of_range_names_row_and_rule_and_nothing_is_asked(http: Client, gateway: Gateway) -> None:
    rows = [COMPLETE, [7.25, *COMPLETE[1:]]]
    with pytest.raises(InferenceServerException) as refused:
        http.infer("demo_risk", [tensor(client, rows)], headers=login())
    assert refused.value.status() == "422"
    assert refused.value.message() == "row 1, age: must be in [18, 110] a"
    assert gateway.triton.asked == []


def test_the_time_that_the_caller_gives_is_kept(http: Client, gateway: Gateway) -> None:
    gateway.triton.fault = "hang"
    with pytest.raises(InferenceServerException, match=r"within 0\.1 s") as refused:
        http.infer("demo_risk", [tensor(client)], timeout=100_000, headers=login())
    assert refused.value.status() == "504"
    assert gateway.recorded() == []


@pytest.mark.parametrize("headers", [{"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}])
def test_a_key_opens_either_way(http: Client, headers: dict[str, str]) -> None:
    assert http.infer("demo_risk", [tensor(client)], headers=headers).as_numpy("prediction") is not None


def test_without_a_key_health_is_all_there_is(http: Client) -> None:
    for ask in (
        http.get_server_metadata,
        http.get_model_repository_index,
        lambda: http.get_model_metadata("demo_risk"),
        lambda: http.get_model_config("demo_risk"),
        lambda: http.infer("demo_risk", [tensor(client)]),
    ):
        with pytest.raises(InferenceServerException) as refused:
            ask()
        assert refused.value.status() == "401"


def test_nothing_can_be_changed(http: Client) -> None:
    key = {"headers": login()}
    for change in (
        lambda: http.load_model("demo_risk", **key),
        lambda: http.unload_model("demo_risk", **key),
        lambda: http.update_trace_settings("demo_risk", {"trace_rate": "1"}, **key),
        lambda: http.get_trace_settings(**key),
        lambda: http.update_log_settings({"log_info": True}, **key),
        lambda: http.get_log_settings(**key),
        lambda: http.get_system_shared_memory_status(**key),
        lambda: http.register_system_shared_memory("a", "/a", 4, **key),
        lambda: http.unregister_system_shared_memory(**key),
        lambda: http.get_cuda_shared_memory_status(**key),
        lambda: http.register_cuda_shared_memory("a", b"handle", 0, 4, **key),
        lambda: http.unregister_cuda_shared_memory(**key),
    ):
        with pytest.raises(InferenceServerException, match="signed release") as refused:
            change()
        assert refused.value.status() == "403"
    with pytest.raises(InferenceServerException) as refused:
        http.get_inference_statistics(**key)
    assert refused.value.status() == "404"


def test_a_shadow_scores_what_was_answered(http: Client, gateway: Gateway) -> None:
    gateway.publish(demo_risk={1: 100}, shadow=2)
    http.infer("demo_risk", [tensor(client)], request_id="r", headers=login())
    wait_until(lambda: [each.request_id for each in gateway.shadows()] == ["r"])
