"""Runs recorded as the engine records them, trained again from the record; without Ray."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from data_store.errors import InputError
from data_store.resident import open_mmap
from sweeps import kd_alpha, kd_prune, lite, model_scaling, prune_ratio, quantise, schedule, transfer
from sweeps.engine.recorded import config_from_params
from sweeps.engine.space import PROFILES, PlannedTrial, Setting
from sweeps.engine.tracking import Tracking, _params
from sweeps.reproduce import CLOCKED, differences, main
from tests.stores import write_store
from trainables import metric_keys as keys
from trainables.recipes import TrialConfig

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


@dataclass(frozen=True, kw_only=True)
class Made:
    """A tracking store with a teacher and its student.

    Attributes:
        uri: Of the tracking store.
        store: The crops.
        runs: MLflow's ids by name.
        parent: The sweep's own run.
    """

    uri: str
    store: Path
    runs: dict[str, str]
    parent: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Train and record a teacher of one epoch, and a student of two."""
    from trainables.artifacts import recipe_for
    from trainables.finish import finish
    from trainables.training import train

    folder = tmp_path_factory.mktemp("made")
    store = write_store(folder / "store")
    crops = open_mmap(str(store))
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    tags = {"profile": "demo", "store": str(store), "store_digest": crops.manifest.digest, "split_kind": "identity"}
    tracking = Tracking(uri, experiment="kd_alpha", sweep="kd_alpha-demo-0", results=folder, tags=tags)
    setting = Setting(profile=PROFILES["demo"], seed=3, store_digest=crops.manifest.digest, device="cpu", num_threads=1)
    recipe = replace(PROFILES["demo"].recipe, epochs=1, warmup_epochs=0)
    teacher = setting.config("Lite0", recipe=recipe)
    student = setting.config("Lite0", recipe=replace(recipe, epochs=2), alpha=0.5, teacher=setting.identity(teacher))
    runs: dict[str, str] = {}
    for name, config in (("teacher", teacher), ("student", student)):
        planned = PlannedTrial(name=name, role=name, config=config)
        tracking.start(setting.identity(config), planned)
        fit = train(config, crops, teacher_folder=folder / "teacher" / "model" if config.teacher else None)
        (folder / name).mkdir()
        result = finish(fit, config, recipe_for("Lite0", 64), crops, folder / name)
        tracking.finish(setting.identity(config), result, folder / name)
        tracking.costs(setting.identity(config), {keys.LATENCY_RATIO: 0.7})
        runs[name] = tracking.run_of(setting.identity(config))
    tracking.client.set_terminated(tracking.parent)
    return Made(uri=uri, store=store, runs=runs, parent=tracking.parent)


def again(made: Made, tmp_path: Path, run: str, *flags: str) -> int:
    return main([run, "--tracking-uri", made.uri, "--results", str(tmp_path), *flags])


def test_a_student_and_its_teacher_come_out_to_the_bit(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.copytree(made.store, tmp_path / "moved")
    assert again(made, tmp_path, made.runs["student"], "--store", str(moved)) == 0
    out = capsys.readouterr().out
    assert "student of kd_alpha-demo-0: Lite0 at 64 px" in out
    assert f"teacher  {tmp_path / 'models' / made.runs['teacher']}" in out
    assert "equal    all " in out


def test_what_differs_is_named_with_both_values(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The record of a run whose accuracy was polished and whose model is another."""
    from mlflow import MlflowClient

    client = MlflowClient(made.uri)
    source = client.get_run(made.runs["teacher"])
    copy = client.create_run(source.info.experiment_id, tags={**source.data.tags, "mlflow.runName": "polished"})
    for name, word in source.data.params.items():
        client.log_param(copy.info.run_id, name, word)
    for key, value in source.data.metrics.items():
        if "/" not in key:
            client.log_metric(copy.info.run_id, key, value + 0.25 * (key == "val_accuracy"))
    client.set_tag(copy.info.run_id, "model", "0" * 64)
    client.set_terminated(copy.info.run_id)
    assert again(made, tmp_path, copy.info.run_id) == 1
    out = capsys.readouterr().out
    line = next(line.split() for line in out.splitlines() if line.startswith("val_accuracy"))
    assert float(line[1]) - float(line[2]) == pytest.approx(0.25)
    assert "differs  1 of " in out
    assert "the weights differ" in out
    client.delete_run(copy.info.run_id)


def test_bad_input_is_one_clear_line(made: Made, tmp_path: Path) -> None:
    other = write_store(tmp_path / "other", seed=1)
    for run, flags, words in (
        ("feed" * 8, (), "must be a run of the tracking store, but 'feedfeed"),
        (made.parent, (), r"must be a finished trial, but \w+ is a sweep \(FINISHED\)"),
        (made.runs["teacher"], ("--store", str(other)), "must be the recorded one .* name the recorded one with"),
        (made.runs["teacher"], ("--store", str(tmp_path)), r"store\.json"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            again(made, tmp_path, run, *flags)
        assert "\n" not in str(caught.value)


def test_a_record_of_another_recipe_version_is_refused(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainables.recipes.RECIPE_VERSION", -1)
    with pytest.raises(InputError, match=r"was recorded by revision \w+, .* check that revision out"):
        again(made, tmp_path, made.runs["teacher"])


def test_a_model_that_no_run_made_or_that_was_changed_is_refused(made: Made, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(made.uri)
    teacher = made.runs["teacher"]
    weights = Path(client.get_run(teacher).info.artifact_uri.removeprefix("file://")) / "model" / "weights.safetensors"
    kept = weights.read_bytes()
    try:
        weights.write_bytes(kept[:-4] + b"\0\0\0\1")
        with pytest.raises(InputError, match="must be the one that was recorded"):
            again(made, tmp_path, made.runs["student"])
    finally:
        weights.write_bytes(kept)
    client.delete_run(teacher)
    try:
        with pytest.raises(InputError, match="no finished run in sqlite.* --tracking-uri"):
            again(made, tmp_path, made.runs["student"])
    finally:
        client.restore_run(teacher)


def planned(profile: str) -> list[TrialConfig]:
    setting = Setting(profile=PROFILES[profile], seed=1, store_digest="d", device="cpu", num_threads=2)
    modules: list[Any] = [kd_alpha, kd_prune, lite, model_scaling, prune_ratio, quantise, schedule, transfer]
    found = [trial.config for module in modules for trial in module.trials(setting)]
    assert len(found) > 30
    return found


@pytest.mark.parametrize("profile", ["demo", "thesis"])
def test_a_config_survives_the_record(profile: str) -> None:
    for config in planned(profile):
        recorded = _params(PlannedTrial(name="", role="", config=config))
        assert config_from_params(recorded) == config
    cut = replace(config, recipe=replace(config.recipe, max_steps_per_epoch=1), micro_batch=8, precision="amp")
    assert config_from_params(_params(PlannedTrial(name="", role="", config=cut))) == cut


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipe.learning_rate": "fast"}, "fast"),
        ({"recipe.augmentation.horizontal_flip": "yes"}, "'yes' is neither True nor False"),
        ({"invented": "1"}, "but invented is none"),
        ({"alpha": "2"}, r"alpha must lie in \[0, 1\]"),
    ],
)
def test_a_record_that_is_no_trial_is_refused(change: dict[str, str], words: str) -> None:
    recorded = _params(PlannedTrial(name="", role="", config=planned("demo")[0]))
    with pytest.raises(InputError, match=words):
        config_from_params({**recorded, **change})
    del recorded["architecture"]
    with pytest.raises(InputError, match="architecture"):
        config_from_params(recorded)


def test_only_what_a_clock_decides_may_differ() -> None:
    assert differences({"a": 1.0, "seconds": 3.0, "latency_ratio": 1.0}, {"a": 1.0, "seconds": 4.0}) == {}
    assert differences({"a": 1.0}, {"a": 1.0 + 2**-52}) == {"a": (1.0, 1.0 + 2**-52)}
    assert differences({"a": float("nan")}, {"a": float("nan")}) == {}
    assert list(differences({"a": 1.0}, {"a": float("nan")})) == ["a"]
    assert list(differences({"val_auc": 1.0}, {})) == ["val_auc"]
    assert differences({"test_on_celeb_1a2b3c_auc": 1.0}, {}) == {}
    assert differences({}, {"val_new_score": 1.0}) == {}
    assert set(CLOCKED) == {"seconds", "energy_wh", "predicted_memory_mb", "peak_memory_mb"}


def test_who_reads_the_store_does_not_keep_the_sweep_from_writing(tmp_path: Path) -> None:
    """A reader in the middle of its transaction, as MLflow's own server is while it answers a page."""
    import sqlite3

    tracking = Tracking(f"sqlite:///{tmp_path / 'mlflow.db'}", experiment="e", sweep="e", results=tmp_path, tags={})
    reader = sqlite3.connect(tmp_path / "mlflow.db")
    reader.execute("BEGIN")
    assert reader.execute("SELECT COUNT(*) FROM runs").fetchone() == (1,)
    tracking.client.log_metric(tracking.parent, keys.LATENCY_RATIO, 0.5)
    assert tracking.client.get_run(tracking.parent).data.metrics == {keys.LATENCY_RATIO: 0.5}
    reader.close()
