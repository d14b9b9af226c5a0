"""What trials will need, found out without training: bytes, and for ``--plan`` and searches also work and time.

Everything is cached by what it depends on; the memory of the shipped sweeps' trials is known beforehand
(``known_memory``). What neither has is computed by ``python -m sweeps.engine.forecast``, a process of its own, because
it needs torch: a JSON request on standard input, a JSON answer on standard output.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trainables.apart import run_apart
from trainables.recipes import RECIPE_VERSION, Augmentation, TrialConfig, digest, from_dict, to_dict

TIMED_PIXELS = 32 * 64 * 64
"""Pixels of a timed step: a whole batch at 64 px, fewer crops of larger ones."""
TIMED_STEPS = 3
TIMING = 2
"""Moves when steps are timed otherwise: what was timed before is timed again."""
SHIPPED = Path(__file__).with_name("known_memory.json")
PREDICTION = 2
"""Moves when ``trainables.memory`` predicts otherwise: what an earlier one predicted is found out again."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """A network's cost, whatever its weights.

    Attributes:
        parameters: Trainable values.
        macs: Multiply-accumulates of one image.
        traffic_bytes: Bytes that the operations of one image read and write.
        num_operations: How many there are.
        size_mb: 10^6 bytes of its weights on disk.
        train_ms: Milliseconds of one crop in a training step, on this machine, as it was when it was timed.
        evaluate_ms: Milliseconds of one crop in evaluation.
    """

    parameters: int
    macs: int
    traffic_bytes: int
    num_operations: int
    size_mb: float
    train_ms: float
    evaluate_ms: float


def shape_of(config: TrialConfig) -> dict[str, Any]:
    """Return the config with what does not touch memory set to fixed values, so that the cache is shared."""
    recipe = replace(
        config.recipe,
        name="",
        learning_rate=1.0,
        epochs=1,
        warmup_epochs=0,
        schedule="constant",
        patience=1,
        augmentation=Augmentation(),
        max_steps_per_epoch=None,
    )
    aware = config.quantisation == "aware"  # trains in more memory; static int8 comes after training
    return to_dict(
        replace(
            config,
            recipe=recipe,
            weights="trained" if aware else "none",  # a network is largest before it is pruned
            pruning=None,
            quantisation="aware" if aware else "none",
            alpha=0.0,
            temperature=1.0,
            teacher=None,
            data_seed=0,
            init_seed=0,
            num_threads=1,
            device="cpu",  # the prediction is a GPU's in any case
        )
    )


def shape_key(config: TrialConfig, teacher: tuple[str, int] | None) -> str:
    """Return the key of a config's memory in the cache."""
    return digest([shape_of(config), teacher, RECIPE_VERSION, PREDICTION])[:16]


class Forecasts:
    """The caches below ``results/cache``, and the process that fills them.

    Attributes:
        cache: The folder.
        known_bytes: Predicted peak bytes by ``shape_key``.
    """

    def __init__(self, cache: Path, shipped: Path | None = SHIPPED) -> None:
        """Read what is known.

        Args:
            cache: Folder, made when something is found out.
            shipped: File of bytes that are known beforehand, if any.
        """
        self.cache = cache
        self.known_bytes: dict[str, int] = _read(cache / "predicted_memory.json") | (_read(shipped) if shipped else {})
        self._footprints: dict[str, dict[str, Any]] = _read(cache / "footprints.json")

    def bytes_of(self, config: TrialConfig, teacher: tuple[str, int] | None) -> int | None:
        """Return the predicted peak bytes of a config as it stands; None when not known."""
        return self.known_bytes.get(shape_key(config, teacher))

    def predict(
        self,
        wanted: Sequence[tuple[TrialConfig, tuple[str, int] | None]],
        budget_bytes: int,
        *,
        least_rungs: int = 1,
        exactly: bool = False,
    ) -> None:
        """Find out the bytes of configs, with the networks of their teachers.

        Args:
            wanted: What is not known.
            budget_bytes: Each goes down its ladder to the first rung that fits it.
            least_rungs: Go down so far in any case.
            exactly: Do not go down, and take each config as it stands.
        """
        if not wanted:
            return
        requests = [{"config": shape_of(config), "teacher": teacher} for config, teacher in wanted]
        steps = {"budget_bytes": budget_bytes, "least_rungs": least_rungs, "exactly": exactly}
        answer = _ask({"memory": requests, "steps": steps})
        new = {
            shape_key(from_dict(config), teacher): need
            for (_, teacher), rows in zip(wanted, answer["memory"], strict=True)
            for config, need in rows
        }
        self.known_bytes |= new
        _write(self.cache / "predicted_memory.json", new)

    def footprints(self, shapes: Iterable[tuple[str, int]], *, device: str, num_threads: int) -> dict[str, Footprint]:
        """Return each network's footprint by ``architecture@resolution_px``, found out where it is not known."""
        keys = {f"{name}@{px}": f"{name}@{px} {device} {num_threads} {TIMING}" for name, px in shapes}
        missing = [name for name, key in keys.items() if key not in self._footprints]
        if missing:
            request = [[name.split("@")[0], int(name.split("@")[1])] for name in missing]
            answer = _ask({"footprints": request, "device": device, "num_threads": num_threads})
            for name, row in zip(missing, answer["footprints"], strict=True):
                self._footprints[keys[name]] = row
            _write(self.cache / "footprints.json", self._footprints)
        return {name: Footprint(**self._footprints[key]) for name, key in keys.items()}

    def latency_fit(self, networks: Sequence[tuple[str, int]], *, shares: Sequence[float] = (0.0,)) -> dict[str, Any]:
        """Time networks while nothing else runs, and return the fields of a ``LatencyFit`` to their times.

        With one thread, however many a trial trains with: as latency is measured when all are trained.

        Args:
            networks: (architecture, resolution_px) of each.
            shares: Each network is timed once for each share of its channels that is taken off.
        """
        request = {"latency": list(networks), "shares": list(shares)}
        fit: dict[str, Any] = _ask(request)["latency"]
        return fit


def _read(file: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):  # a cache: what cannot be read is found out again
        return {}
    return values


def _write(file: Path, values: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(_read(file) | values))  # another sweep may have written meanwhile
    partial.replace(file)


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(
        run_apart("sweeps.engine.forecast", request=json.dumps(request), failure="the forecast failed")
    )
    return answer


def _ladder_bytes(
    config: TrialConfig, teacher: tuple[str, int] | None, *, budget_bytes: int, least_rungs: int, exactly: bool
) -> list[tuple[dict[str, Any], int]]:
    """Return rungs and their bytes, down to the first that fits."""
    from sweeps.engine.ladder import rungs
    from trainables.memory import predicted_peak_bytes

    needs: list[tuple[dict[str, Any], int]] = []
    ladder = [config] if exactly else list(rungs(config))
    ladder.insert(2, ladder.pop()) if len(ladder) > 2 else None  # does the last rung fit? if not, none does
    for place, rung in enumerate(ladder, start=1):
        need = predicted_peak_bytes(rung, teacher)
        needs.append((to_dict(rung), need))
        if place >= least_rungs and (need > budget_bytes if place == 3 else need <= budget_bytes):
            break
    return needs


def _footprint(architecture: str, resolution_px: int, device: str) -> dict[str, float]:
    """Return the fields of a ``Footprint``; its times are those of random pixels."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from trainables.architectures import build, forward
    from trainables.footprint import num_parameters, work

    torch.manual_seed(0)
    network = build(architecture)
    tensors = network.state_dict()
    values: dict[str, float] = {
        "parameters": num_parameters(network),
        **asdict(work(network, resolution_px)),
        "size_mb": sum(value.numel() * value.element_size() + len(name) + 70 for name, value in tensors.items()) / 1e6,
    }
    model = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch = max(2, min(32, TIMED_PIXELS // resolution_px**2))
    images = torch.rand(batch, 3, resolution_px, resolution_px, device=device)
    labels = torch.zeros(batch, device=device)

    def train() -> float:
        loss = binary_cross_entropy_with_logits(forward(model.train(), images), labels)
        loss.backward()
        return loss.item()

    def evaluate() -> float:
        with torch.inference_mode():
            return float(forward(model.eval(), images).sum().item())

    for name, run in (("train_ms", train), ("evaluate_ms", evaluate)):
        run()
        seconds = []
        for _ in range(TIMED_STEPS):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
        values[name] = 1e3 * min(seconds) / batch
    return values


def _main() -> None:
    request = json.load(sys.stdin)
    answer: dict[str, Any] = {}
    if "memory" in request:
        answer["memory"] = [
            _ladder_bytes(
                from_dict(row["config"]), tuple(row["teacher"]) if row["teacher"] else None, **request["steps"]
            )
            for row in request["memory"]
        ]
    if "footprints" in request:
        from trainables.allocator import keep_freed
        from trainables.fit import fix_threads

        fix_threads(request["num_threads"])  # timed as a trial computes
        keep_freed()
        answer["footprints"] = [_footprint(name, px, request["device"]) for name, px in request["footprints"]]
    if "latency" in request:
        from trainables.artifacts import recipe_for
        from trainables.predicted_latency import fit_latency
        from trainables.pruning import thinned

        graphs = [
            replace(recipe_for(name, px), pruning=thinned(name, share))
            for name, px in request["latency"]
            for share in request["shares"]
        ]
        answer["latency"] = asdict(fit_latency(graphs))
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    _main()
