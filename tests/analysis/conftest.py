"""A tracking store with runs shaped as the engine writes them, in a temporary folder; the numbers are invented."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file

from trainables.artifact_files import ModelRecipe, content_digest

if TYPE_CHECKING:
    from mlflow.entities import Metric

CATEGORIES = ("youtube", "Deepfakes", "Face2Face", "FaceShifter", "FaceSwap", "NeuralTextures")
MEASURED = ("size_mb", "parameters", "macs", "latency_ms_p50", "latency_ratio")
GRAPHS = {
    "B0": (16.31, 4_008_829, 3.3e7, 9.1, 1.0),
    "Lite0": (13.74, 3_372_289, 3.1e7, 6.9, 0.76),
    "Lite0 p": (8.8, 2_151_361, 1.9e7, 4.4, 0.48),
}


@dataclass(frozen=True, kw_only=True)
class Planted:
    """One run to plant."""

    name: str
    skill: float
    """Distance between the mean logits of real and fake crops."""
    graph: str = "Lite0"
    role: str = "student"
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    """Over the computed ones; `None` is not allowed, use `drop`."""
    drop: tuple[str, ...] = ()
    status: str = "FINISHED"
    store_digest: str = "1a2b3c4d" * 8
    split_kind: str = "official"
    predictions: bool = True


def kd_alpha_runs() -> list[Planted]:
    """A teacher and five students, as `sweeps/kd_alpha.py` leaves them."""
    skills = {"0": 2.1, "0.25": 2.65, "0.5": 2.5, "0.75": 2.9, "1": 2.3}
    students = [
        Planted(
            name=f"alpha={alpha}",
            skill=skill,
            params={
                "alpha": alpha,
                "temperature": "1.0",
                "teacher": "B0",
                "data_seed": "0",
                "init_seed": "0",
            },
        )
        for alpha, skill in skills.items()
    ]
    return [Planted(name="teacher B0", skill=3.2, graph="B0", role="teacher"), *students]


def predictions_table(skill: float, *, seed: int, identities: int = 16, frames: int = 5) -> pa.Table:
    """Logits of a detector of that skill on a small val and test split."""
    shared = np.random.default_rng(7)  # how hard a crop is, the same for every detector
    own = np.random.default_rng(seed)
    rows: dict[str, list[str] | list[int]] = {"video_id": [], "category": [], "split": [], "label": []}
    for split, first in (("val", 0), ("test", 500)):
        for identity in range(first, first + identities):
            for category in CATEGORIES:
                name = f"{identity:03d}" if category == "youtube" else f"{identity:03d}_{identity ^ 1:03d}"
                for _ in range(frames):
                    rows["video_id"].append(name)  # type: ignore[arg-type]
                    rows["category"].append(category)  # type: ignore[arg-type]
                    rows["split"].append(split)  # type: ignore[arg-type]
                    rows["label"].append(int(category != "youtube"))  # type: ignore[arg-type]
    label = np.array(rows["label"])
    hard = np.repeat(shared.normal(0, 0.8, len(label) // frames), frames)
    logit = skill * (label - 0.5) + hard + own.normal(0, 0.7, len(label))
    columns = {name: pa.array(rows[name]).dictionary_encode() for name in ("video_id", "category", "split")}
    return pa.table(
        {
            "crop": pa.array(np.arange(len(label)), pa.int64()),
            **columns,
            "label": pa.array(label, pa.int8()),
            "logit": pa.array(logit, pa.float32()),
        }
    )


def metrics_of(table: pa.Table) -> dict[str, float]:
    """Accuracy, per category too, AUC and log loss of a table of predictions, for both splits."""
    found: dict[str, float] = {}
    splits = np.array(table.column("split").to_pylist())
    categories = np.array(table.column("category").to_pylist())
    labels, logits = table.column("label").to_numpy(), table.column("logit").to_numpy().astype(float)
    for split in ("val", "test"):
        keep = splits == split
        label, logit, category = labels[keep], logits[keep], categories[keep]
        right = (logit > 0) == (label == 1)
        found[f"{split}_accuracy"] = float(right.mean())
        for name in CATEGORIES:
            found[f"{split}_accuracy_{name}"] = float(right[category == name].mean())
        real, fake = logit[label == 0], logit[label == 1]
        found[f"{split}_auc"] = float((fake[:, None] > real).mean() + 0.5 * (fake[:, None] == real).mean())
        found[f"{split}_log_loss"] = float(np.mean(np.logaddexp(0, np.where(label == 1, -logit, logit))))
    return found


def history(skill: float) -> "list[Metric]":
    """Curves of twelve epochs."""
    from mlflow.entities import Metric

    steps = np.arange(1, 13)
    curves = {
        "epoch/train_loss": 0.7 * np.exp(-0.1 * skill * steps) + 0.1,
        "epoch/val_loss": 0.6 * np.exp(-0.09 * skill * steps) + 0.2,
        "epoch/val_accuracy": 0.5 + 0.12 * skill * (1 - np.exp(-0.3 * steps)),
    }
    return [Metric(key, float(curve[step - 1]), 0, int(step)) for key, curve in curves.items() for step in steps]


def plant(uri: str, runs: Sequence[Planted], *, sweep: str = "kd_alpha", profile: str = "demo") -> None:
    """Write runs into the tracking store, one parent run and one run a trial."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    client = MlflowClient(tracking_uri=uri)
    root = Path(uri.removeprefix("sqlite:///")).parent
    found = client.get_experiment_by_name(sweep)
    experiment = found.experiment_id if found else client.create_experiment(sweep, str(root / "mlartifacts"))
    full = f"{sweep}-{profile}-1a2b3c4d"
    parent = client.create_run(experiment, run_name=full, tags={"kind": "sweep", "sweep": full, "profile": profile})
    for index, run in enumerate(runs):
        table = predictions_table(run.skill, seed=index)
        graph: dict[str, float] = dict(zip(MEASURED, GRAPHS[run.graph], strict=True))
        graph["latency_ms_p90"] = graph["latency_ms_p50"] * 1.08
        metrics = {**metrics_of(table), **graph, "epochs": 12, "seconds": 41.0, **run.metrics}
        tags = {
            "kind": "trial",
            "role": run.role,
            "sweep": full,
            "trial": f"{index:08x}",
            "mlflow.parentRunId": parent.info.run_id,
            "profile": profile,
            "store_digest": run.store_digest,
            "store": "/data/demo-faces",
            "split_kind": run.split_kind,
            "guarantee": "identity",
            "graph": run.graph,
        }
        params = {
            "architecture": run.graph.split()[0],
            "resolution_px": "64",
            "recipe.learning_rate": "0.002",
            **run.params,
        }
        made = client.create_run(experiment, run_name=run.name, tags=tags)
        client.log_batch(
            made.info.run_id,
            metrics=[Metric(key, value, 0, 0) for key, value in metrics.items() if key not in run.drop]
            + history(run.skill),
            params=[Param(key, value) for key, value in params.items()],
            tags=[RunTag("note", "invented")],
        )
        folder = Path(made.info.artifact_uri.removeprefix("file://"))
        (folder / "model").mkdir(parents=True)
        recipe = ModelRecipe(
            architecture=params["architecture"], resolution_px=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
        )
        (folder / "model" / "recipe.json").write_text(json.dumps(asdict(recipe)))
        save_file({"weight": np.full(3, index, dtype=np.float32)}, folder / "model" / "weights.safetensors")
        client.set_tag(made.info.run_id, "model", content_digest(folder / "model"))
        if run.predictions:
            with (
                pa.OSFile(str(folder / "predictions.arrow"), "wb") as file,
                pa.ipc.new_file(file, table.schema) as writer,
            ):
                writer.write_table(table)
        if run.status != "RUNNING":
            client.set_terminated(made.info.run_id, run.status)
    client.set_terminated(parent.info.run_id)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let MLflow's own use of a deprecated SQLAlchemy option pass; every other warning is an error."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"))


@pytest.fixture(scope="session")
def blank_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs: making its tables takes seconds, copying the file none."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("blank") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def empty_store(blank_database: Path, tmp_path: Path) -> str:
    """Tracking address of a store of one's own, without runs."""
    shutil.copy(blank_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(scope="session")
def kd_alpha_store(blank_database: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Tracking address of a store that holds one finished `kd_alpha` sweep."""
    path = tmp_path_factory.mktemp("results") / "mlflow.db"
    shutil.copy(blank_database, path)
    plant(f"sqlite:///{path}", kd_alpha_runs())
    return f"sqlite:///{path}"
