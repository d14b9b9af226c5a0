"""The command, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from data_store.errors import InputError
from demo.annotate import main
from tests.demo import films


def test_a_video_is_marked_and_the_verdict_said(
    drawn: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, record = tmp_path / "out.mp4", tmp_path / "out.json"
    assert main([str(drawn), "--model", str(model_folder), "--out", str(out), "--json", str(record)]) == 0
    said = capsys.readouterr().out
    assert "Lite0 at 64 px, ONNX Runtime, float" in said
    assert "not calibrated" in said
    assert "verdict  deepfake" in said
    assert "on 14 scored frames" in said
    values = json.loads(record.read_text())
    assert values["file"] == "drawn.mp4"
    assert values["verdict"]["frames_scored"] == 14
    assert len(values["frames"]) == 50
    assert len(films.decoded(out)) == 50


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--out", "x.avi"], r"--out must end in \.mp4"),
        (["--per-second", "0"], "--per-second must lie from"),
        (["--max-minutes", "-1"], "--max-minutes must be above 0"),
        (["--shown-px", "5"], "--shown-px must be 0 or at least 128"),
        (["--model", "nowhere"], "--model must be a model's folder or a run's id, but 'nowhere' is neither"),
        (["--model", "0" * 32, "--tracking-uri", "sqlite:////nowhere/mlflow.db"], "no results yet"),
        (["--precision", "int8"], "--precision int8 needs"),
    ],
)
def test_bad_input_is_one_clear_line(
    drawn: Path, model_folder: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    arguments = [str(drawn), "--model", str(model_folder), "--out", str(tmp_path / "out.mp4"), *more]
    with pytest.raises(InputError, match=message) as caught:
        main(arguments)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_video_itself_is_never_written_over(drawn: Path, model_folder: Path) -> None:
    before = drawn.read_bytes()
    with pytest.raises(InputError, match="must not be the video itself"):
        main([str(drawn), "--model", str(model_folder), "--out", str(drawn)])
    assert drawn.read_bytes() == before


def test_the_script_runs_by_its_path_and_exits_with_2_on_bad_input(model_folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "words.mp4"
    text.write_text("no video")
    root = Path(__file__).parents[2]
    command = [sys.executable, "demo/annotate.py", str(text), "--model", str(model_folder), "--out", "/tmp/never.mp4"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: a video must be readable")
    assert done.stderr.count("\n") == 1
