"""What a launch says and returns when its trials have ended, without Ray, torch or MLflow."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweeps.engine import ending, launch
from sweeps.engine.journal import open_journal
from sweeps.engine.places import Places
from sweeps.engine.space import PROFILES, PlannedTrial, Setting
from sweeps.engine.terminal import Terminal

SETTING = Setting(profile=PROFILES["demo"], seed=0, store_digest="s", device="cpu", num_threads=1)


@pytest.mark.parametrize(("failed", "code"), [({}, 0), ({"b"}, 1)])
def test_a_model_without_onnx_is_named_and_fails_the_launch(
    failed: set[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "measured", lambda *_, **__: iter([]))
    monkeypatch.setattr(ending, "close", lambda *_: None)
    journal, places, stream = open_journal(tmp_path / "journal.jsonl"), Places(sweep=tmp_path), io.StringIO()
    planned = {name: PlannedTrial(name=f"trial {name}", role="model", config=SETTING.config("Lite0")) for name in "ab"}
    for name in planned:
        journal.append("started", trial=name, attempt=1, name=name)
        journal.append("finished", trial=name, result={"metrics": {}, "graph": {"digest": name}})
    reasons = {places.model(name, journal.state): "an operator has no ONNX equivalent" for name in failed}
    courier: Any = SimpleNamespace(wait_open=lambda: None, put=lambda _: None, flush=lambda _: True, tracking=None)
    began: Any = SimpleNamespace(
        planned=planned,
        places=places,
        setting=SETTING,
        other=None,
        options=SimpleNamespace(smoke=False, results=tmp_path),
        folder=tmp_path,
        uri="sqlite://",
    )
    exporter: Any = SimpleNamespace(failed=reasons)
    assert launch._end(began, journal, courier, exporter, Terminal(stream)) == code
    said = [line for line in stream.getvalue().splitlines() if "no ONNX" in line]
    assert said == [
        f"no ONNX  trial {name}, and so no latency: an operator has no ONNX equivalent" for name in sorted(failed)
    ]
