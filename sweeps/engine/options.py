"""The command line that every sweep shares."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_store.errors import InputError
from data_store.resident import RESIDENCIES
from sweeps.engine.space import PROFILES, Sweep

RESULTS = Path(__file__).parents[2] / "results"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asked for.

    Attributes:
        store: A store of face crops, or None for the built-in data set.
        profile: A name of ``PROFILES``.
        weights: Start of every model in place of the profile's: ``none``, ``imagenet``, a model folder, a
            safetensors file or an MLflow run id; None for the profile's.
        fine_tune: Train every student and model on by the profile's fine-tuning, as a trial of its own.
        smoke: Two trials of one step each.
        plan: Only show what each trial would need.
        seed: Of data order, augmentation and initial weights.
        name: Shown in place of the sweep's own name.
        teacher: A model folder or an MLflow run id, or None.
        results: Folder of everything that is written.
        tracking_uri: Of MLflow; None for a sqlite file below ``results``.
        address: Of a Ray cluster; None for this machine alone.
        gpu_memory_gb: Budget for all trials together, in GiB.
        num_threads: CPU threads of a trial.
        retry_failed: Run failed trials again.
        residency: Where trials find the crops: one of ``RESIDENCIES``.
    """

    store: str | None
    profile: str
    weights: str | None
    fine_tune: bool
    smoke: bool
    plan: bool
    seed: int
    name: str | None
    teacher: str | None
    results: Path
    tracking_uri: str | None
    address: str | None
    gpu_memory_gb: float
    num_threads: int
    retry_failed: bool
    residency: str


def parse(sweep: Sweep, argv: Sequence[str] | None = None) -> Options:
    """Read the command line.

    Raises:
        InputError: A value breaks its rule. argparse itself exits with 2 on unknown flags.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False, prog=f"sweeps/{sweep.name}.py", description=sweep.question)
    add = parser.add_argument
    add("--store", help="store of face crops made by data_store/build.py (default: the built-in data set)")
    add("--profile", help=f"{' or '.join(PROFILES)} (default: demo without --store, thesis with it)")
    starts = "none, imagenet, a model folder, a safetensors file or an MLflow run id"
    add("--weights", help=f"{starts}: where every model starts (default: the profile's)")
    add("--fine-tune", action="store_true", help="fine-tune every student and model, and show the gain")
    add("--smoke", action="store_true", help="two trials of one step each, to see that all works")
    add("--plan", action="store_true", help="show memory, work and time of each trial, and train nothing")
    add("--seed", type=int, default=0, help="of data order, augmentation and initial weights (default: 0)")
    add("--name", help="name of this sweep in place of the file's")
    add("--teacher", help="model folder or MLflow run id to learn from (default: train one first)")
    add("--results", type=Path, default=RESULTS, help="folder for everything written (default: results/)")
    add("--tracking-uri", help="MLflow server (default: a sqlite file in the results folder)")
    add("--address", help="HOST:PORT of a Ray cluster, or auto on a node of it (default: this machine)")
    add("--gpu-memory-gb", type=float, default=8.0, help="GiB for all trials together (default: 8)")
    add("--threads", type=int, default=1, dest="num_threads", help="CPU threads of a trial (default: 1)")
    add("--retry-failed", action="store_true", help="run failed trials again")
    where = f"{' or '.join(RESIDENCIES)}: where trials find the crops; mmap for stores larger than Ray's object store"
    add("--residency", default=RESIDENCIES[0], help=f"{where} (default: {RESIDENCIES[0]})")
    values = vars(parser.parse_args(argv))
    values["profile"] = values["profile"] or ("thesis" if values["store"] else "demo")
    values["results"] = values["results"].resolve()
    options = Options(**values)
    if options.profile not in PROFILES:
        raise InputError(
            f"--profile must be one of {', '.join(PROFILES)}, but got {options.profile!r}; choose one of these"
        )
    if options.residency not in RESIDENCIES:
        raise InputError(
            f"--residency must be {' or '.join(RESIDENCIES)}, but got {options.residency!r}; choose one of these"
        )
    if options.gpu_memory_gb <= 0:
        raise InputError(f"--gpu-memory-gb must be above 0, but got {options.gpu_memory_gb:g}; use 8")
    if options.num_threads < 1:
        raise InputError(f"--threads must be at least 1, but got {options.num_threads}; use 1")
    if options.seed < 0:
        raise InputError(f"--seed must not be negative, but got {options.seed}; use 0")
    if options.address and options.address.startswith("ray://"):
        raise InputError(
            f"--address must be HOST:PORT, but got {options.address!r}: a ray:// client would take journal, lock and "
            "tracking off the driver; run this command on a node of the cluster, or submit it with ray job submit"
        )
    return options
