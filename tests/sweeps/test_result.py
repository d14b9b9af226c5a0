"""The table at a sweep's end, from its journal alone."""

from dataclasses import replace
from typing import Any

from sweeps.engine.journal import State
from sweeps.engine.result import HEADER, alarms, table
from sweeps.engine.space import PROFILES, PlannedTrial, Setting

SETTING = Setting(profile=PROFILES["demo"], seed=0, store_digest="s", device="cpu", num_threads=1)
B0 = PlannedTrial(name="trained B0", role="start", config=SETTING.config("B0"))
BY_SURGERY = PlannedTrial(
    name="from B0", role="model", config=SETTING.config("B0-lite", weights=SETTING.identity(B0.config))
)
RANDOM = PlannedTrial(name="random", role="model", config=SETTING.config("Lite0"))
PLANNED = {SETTING.identity(row.config): row for row in (B0, BY_SURGERY, RANDOM)}
SURGERY = " without its squeeze-and-excitation, whose tensors are dropped"


def ended(origin: str, alarm: str | None = None, **metrics: float) -> dict[str, Any]:
    known = {"val_accuracy": 0.5, "test_accuracy": 0.25, "parameters": 1000, "size_mb": 1.0}
    graph = {"digest": f"g{metrics}"}
    return {"metrics": known | metrics, "graph": graph, "origin": origin, "alarm": alarm, "model": "m", "undefined": {}}


def cells(state: State) -> dict[str, dict[str, str]]:
    header, rows = table(PLANNED, state)
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


def test_where_models_start_is_said_where_it_differs() -> None:
    b0, by_surgery, random = PLANNED
    state = State(finished={b0: ended("random weights"), random: ended("random weights")})
    assert table(PLANNED, state)[0] == [*HEADER]
    state.finished[by_surgery] = ended(f"model 0123abcd (B0){SURGERY}")
    found = cells(state)
    assert found["from B0"]["started from"] == f"trained B0{SURGERY}"
    assert found["random"]["started from"] == "random weights"
    del state.finished[random]["origin"]  # recorded by an earlier revision
    assert cells(state)["random"]["started from"] == ""


def test_a_collapsed_model_is_marked_and_named_even_without_a_score() -> None:
    b0, _, random = PLANNED
    state = State(finished={b0: ended(""), random: ended("", "collapsed: some logits are not finite")})
    del state.finished[random]["metrics"]["val_accuracy"]
    assert cells(state)["random"]["val acc"] == "- !"
    assert cells(state)["trained B0"]["val acc"] == "0.500"
    assert alarms(PLANNED, state) == ["random: collapsed: some logits are not finite"]


def test_an_int8_model_shows_its_own_latency_or_none() -> None:
    float_model = RANDOM
    int8 = replace(RANDOM, name="int8", config=SETTING.config("Lite0", weights="ab", quantisation="static"))
    rows = {"f": float_model, "q": int8}
    finished = {"f": ended("", size_mb=4.0), "q": ended("", size_mb=2.0)}
    state = State(finished=finished)
    eager = {"latency_ms_p50": 5.0, "latency_ratio": 0.5, "latency_noise": 0.2}
    state.latencies[finished["f"]["graph"]["digest"]] = eager
    state.latencies[finished["q"]["graph"]["digest"]] = {"latency_threads": 1}
    shown = {row[0]: row[7:9] for row in table(rows, state)[1]}
    assert shown == {"random": ["~5.0", "x0.50"], "int8": ["-", "-"]}
    in_onnx = {"latency_int8_ms_p50": 2.0, "latency_int8_ratio": 0.25, "latency_int8_noise": 0.01}
    state.latencies[finished["q"]["graph"]["digest"]] = in_onnx
    assert {row[0]: row[7:9] for row in table(rows, state)[1]}["int8"] == ["2.0 int8", "x0.25 int8"]
