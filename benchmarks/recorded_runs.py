"""A tracking store with thousands of runs, made in seconds: one run is recorded by MLflow, the rest are its copies."""

import random
import sqlite3
import uuid
from pathlib import Path
from typing import Any

CATEGORIES = ("youtube", "Deepfakes", "Face2Face", "FaceShifter", "FaceSwap", "NeuralTextures")
SCORES = ("accuracy", "auc", "eer", "log_loss", "video_accuracy", "video_auc", *(f"accuracy_{c}" for c in CATEGORIES))


def template(uri: str, artifacts: Path) -> tuple[str, str]:
    """Record one sweep with one trial through MLflow's client; return their run ids."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(uri)
    experiment = client.create_experiment("search", artifacts.as_uri())
    shared = {"sweep": "search-demo-0", "profile": "demo", "store_digest": "0" * 64, "store": "/faces"}
    shared |= {"split_kind": "identity", "guarantee": "identity", "revision": "0" * 40}
    parent = client.create_run(experiment, tags={**shared, "kind": "sweep"}, run_name="search-demo-0").info.run_id
    tags = {**shared, "kind": "trial", "role": "student", "trial": "0" * 64, "mlflow.parentRunId": parent}
    trial = client.create_run(experiment, tags={**tags, "graph": "0" * 64}, run_name="trial").info.run_id
    keys = [f"{split}_{score}" for split in ("val", "test") for score in SCORES]
    keys += ["size_mb", "parameters", "macs", "latency_ms_p50", "latency_ms_p90", "latency_ratio", "latency_noise"]
    keys += ["epochs", "best_epoch", "seconds", "epoch/train_loss", "epoch/val_loss", "epoch/val_accuracy"]
    params = {"architecture": "Lite0", "resolution_px": "64", "weights": "none", "alpha": "0.5", "teacher": "0" * 64}
    params |= {f"recipe.{name}": "0.1" for name in ("learning_rate", "momentum", "weight_decay", "epochs", "patience")}
    params |= {f"recipe.augmentation.{name}": "0.1" for name in ("brightness", "contrast", "hue", "rotation_degrees")}
    client.log_batch(
        trial,
        metrics=[Metric(key, 0.5, 0, 0) for key in keys],
        params=[Param(key, value) for key, value in params.items()],
    )
    client.set_terminated(trial)
    client.set_terminated(parent)
    return parent, trial


def copy_runs(database: Path, parent: str, trial: str, *, sweeps: int, trials: int, seed: int = 0) -> None:
    """Add sweeps of so many trials, their costs and scores drawn at random."""
    generator = random.Random(seed)
    connection = sqlite3.connect(database)
    connection.row_factory = sqlite3.Row
    rows = {
        (table, run): [dict(row) for row in connection.execute(f"SELECT * FROM {table} WHERE run_uuid = ?", (run,))]
        for table in ("runs", "latest_metrics", "params", "tags")
        for run in (parent, trial)
    }
    clock = rows["runs", trial][0]["start_time"]
    made: dict[str, list[dict[str, Any]]] = {"runs": [], "latest_metrics": [], "params": [], "tags": []}

    def add(source: str, changes: dict[str, dict[str, Any]], name: str, sweep: str, at: int) -> str:
        run = uuid.UUID(int=generator.getrandbits(128)).hex
        times = {"start_time": at, "end_time": at + 1}
        made["runs"] += [{**row, "run_uuid": run, "name": name, **times} for row in rows["runs", source]]
        for table in ("latest_metrics", "params", "tags"):
            values = {**changes.get(table, {}), **({"sweep": sweep} if table == "tags" else {})}
            for row in rows[table, source]:
                made[table].append({**row, "run_uuid": run, "value": values.get(row["key"], row["value"])})
        return run

    for number in range(sweeps):
        label = f"search-demo-{seed}-{number:04d}"
        clock += trials + 2
        owner = add(parent, {}, label, label, clock + trials)
        for index in range(trials):
            size = round(generator.uniform(4, 17), 2)
            accuracy = round(0.6 + 0.3 * (1 - 4 / size) * generator.uniform(0.5, 1), 4)
            metrics = {"size_mb": size, "parameters": size * 245_000, "macs": size * 2e6, "latency_ratio": size / 17}
            metrics |= {"latency_ms_p50": size, "latency_ms_p90": size * 1.1}
            metrics |= {"val_accuracy": accuracy, "test_accuracy": accuracy - 0.01, "val_auc": accuracy}
            params = {"architecture": generator.choice(["B0", "Lite0", "Lite1"]), "alpha": generator.choice("01")}
            changes: dict[str, dict[str, Any]] = {
                "latest_metrics": metrics,
                "params": params,
                "tags": {"mlflow.parentRunId": owner},
            }
            add(trial, changes, f"trial {index}", label, clock + index)
    with connection:
        for table, values in made.items():
            marks = ", ".join(f":{key}" for key in values[0])
            connection.executemany(f"INSERT INTO {table} ({', '.join(values[0])}) VALUES ({marks})", values)
    connection.close()


def make_store(folder: Path, *, sweeps: int, trials: int) -> str:
    """Make a tracking store below a folder and return its address."""
    folder.mkdir(parents=True, exist_ok=True)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    parent, trial = template(uri, folder / "artifacts")
    copy_runs(folder / "mlflow.db", parent, trial, sweeps=sweeps, trials=trials)
    return uri
