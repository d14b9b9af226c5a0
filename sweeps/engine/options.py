"""The command line that every sweep shares."""

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from data_store.errors import InputError
from data_store.resident import RESIDENCIES
from sweeps.engine import asha, bucket
from sweeps.engine.searchers import METHODS, in_order
from sweeps.engine.space import PROFILES, Sweep

TRIALS = 20
MOST_GIB = 1e6
"""More than any machine has; without a bound the bytes could not be counted."""
LONGEST_NAME = 200
"""Profile and digest come after it, and file systems take 255 bytes."""
SEEDS = 2**63
"""Seeds are below it: torch and Arrow keep them in 64 bits with a sign."""
RESULTS = Path(__file__).parents[2] / "results"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asked for.

    Attributes:
        store: A store of face crops, or None for the built-in data set.
        profile: A name of ``PROFILES``.
        weights: Start of every model in place of the profile's: ``none``, ``imagenet``, a model folder, a
            safetensors file or an MLflow run id; None for the profile's.
        fine_tune: Train every student and model that is not fine-tuned yet on by the profile's fine-tuning, as a trial
            of its own.
        smoke: Two trials of one step each.
        plan: Only show what each trial would need.
        search: The order of the cells, or how points of a space are chosen: one of ``searchers.METHODS``.
        num_trials: Points that a search tries.
        max_size_mb: Largest size of a model that a search tries, in 10^6 bytes; None for any.
        max_latency_ms: Longest predicted CPU latency of one; None for any.
        early_stop: Whether trials that fall behind are stopped: one of ``asha.METHODS``.
        num_seeds: Each trial once for so many seeds.
        seed: Of data order, augmentation and initial weights.
        name: Shown in place of the sweep's own name.
        teacher: A model folder or an MLflow run id, or None.
        test_store: Another store, on whose test split every model is scored as well; or None.
        results: Folder of everything that is written; with a bucket this machine's own, beside it.
        bucket: Address of a bucket in which sweeps are kept, or None.
        tracking_uri: Of MLflow; None for a sqlite file below ``results``.
        address: Of a Ray cluster; None for this machine alone.
        gpu_memory_gb: Budget for all trials together, in GiB.
        num_threads: CPU threads of a trial.
        fresh: Start over under a new name, and train again what other sweeps have trained.
        extend: Add this command's trials to the latest sweep of the same name, store, seed and profile.
        show_list: Show the sweeps of the results folder and their state, and do nothing else.
        retry_failed: Run failed trials again.
        max_failures: How often a trial that raised is tried again within a launch.
        residency: Where trials find the crops: one of ``RESIDENCIES``.
    """

    store: str | None
    profile: str
    weights: str | None
    fine_tune: bool
    smoke: bool
    plan: bool
    search: str
    num_trials: int
    max_size_mb: float | None
    max_latency_ms: float | None
    early_stop: str
    num_seeds: int
    seed: int
    name: str | None
    teacher: str | None
    test_store: str | None
    results: Path
    bucket: str | None
    tracking_uri: str | None
    address: str | None
    gpu_memory_gb: float
    num_threads: int
    fresh: bool
    extend: bool
    show_list: bool
    retry_failed: bool
    max_failures: int
    residency: str


class _Parser(argparse.ArgumentParser):
    """Refuses what it does not know in one line; argparse itself would print all flags before it."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"flags must be those of {self.prog}, but {message}; see {self.prog} --help")


NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def parse(sweep: Sweep, argv: Sequence[str] | None = None) -> Options:
    """Read the command line.

    Raises:
        InputError: A flag is unknown, or a value breaks its rule.
    """
    parser = _Parser(allow_abbrev=False, prog=f"sweeps/{sweep.name}.py", description=sweep.question)
    add = parser.add_argument
    add("--store", help="store of face crops made by data_store/build.py (default: the built-in data set)")
    add("--profile", help=f"{' or '.join(PROFILES)} (default: demo without --store, thesis with it)")
    starts = "none, imagenet, a model folder, a safetensors file or an MLflow run id"
    add("--weights", help=f"{starts}: where every model starts (default: the profile's)")
    add("--fine-tune", action="store_true", help="fine-tune students and models that are not yet, and show the gain")
    add("--smoke", action="store_true", help="two trials of one step each, to see that all works")
    add("--plan", action="store_true", help="show memory, work and time of each trial, and train nothing")
    default = "tpe" if sweep.space else "grid"
    add("--search", default=default, help=f"{', '.join(METHODS)}: what is tried, in which order (default: {default})")
    add("--trials", type=int, dest="num_trials", help=f"points that a search tries (default: {TRIALS})")
    add("--max-size-mb", type=float, help="a search tries no model with more 10^6 bytes of weights")
    add("--max-latency-ms", type=float, help="a search tries no model with a longer predicted CPU latency")
    stopping = "asha" if sweep.space else "none"
    words = "asha stops trials that fall behind others of like cost"
    add("--early-stop", default=stopping, help=f"{' or '.join(asha.METHODS)}: {words} (default: {stopping})")
    add("--seeds", type=int, default=1, dest="num_seeds", help="each trial once for so many seeds (default: 1)")
    add("--seed", type=int, default=0, help="of data order, augmentation and initial weights (default: 0)")
    add("--name", help="name of this sweep in place of the file's")
    add("--teacher", help="model folder or MLflow run id to learn from (default: train one first)")
    add("--test-store", help="another store, on whose test split every model is scored as well")
    add("--results", default=str(RESULTS), help="folder or s3://bucket/path for everything written (default: results/)")
    add("--scratch", help="this machine's folder for sweeps in a bucket (default: results/bucket-...)")
    add("--tracking-uri", help="MLflow server (default: a sqlite file in the results folder)")
    add("--address", help="HOST:PORT of a Ray cluster, or auto on a node of it (default: this machine)")
    add("--gpu-memory-gb", type=float, default=8.0, help="GiB for all trials together (default: 8)")
    add("--threads", type=int, default=1, dest="num_threads", help="CPU threads of a trial (default: 1)")
    add("--fresh", action="store_true", help="start over under a new name, and train everything again")
    add("--extend", action="store_true", help="add this command's trials to the latest sweep of the same name")
    add("--list", action="store_true", dest="show_list", help="show the sweeps in the results folder, and stop")
    add("--retry-failed", action="store_true", help="run failed trials again")
    add("--max-failures", type=int, default=0, help="how often a trial that raised is tried again (default: 0)")
    where = f"{' or '.join(RESIDENCIES)}: where trials find the crops; mmap for stores larger than Ray's object store"
    add("--residency", default=RESIDENCIES[0], help=f"{where} (default: {RESIDENCIES[0]})")
    values = vars(parser.parse_args(argv))
    _refuse_empty(values)
    values["profile"] = values["profile"] or ("thesis" if values["store"] else "demo")
    results, scratch, values["bucket"] = values["results"], values.pop("scratch"), None
    if bucket.named(results):
        values["bucket"] = bucket.check_address(results)
        results = scratch or bucket.working_folder(values["bucket"], RESULTS)
    elif scratch is not None:
        raise InputError(f"--scratch goes with --results s3://bucket/path, but got {scratch} without; leave it out")
    values["results"] = Path(results).resolve()
    _check_search(sweep, values)
    values["num_trials"] = values["num_trials"] or (1 if values["smoke"] else TRIALS)
    options = Options(**values)
    if options.profile not in PROFILES:
        raise InputError(
            f"--profile must be one of {', '.join(PROFILES)}, but got {options.profile!r}; choose one of these"
        )
    if options.early_stop not in asha.METHODS:
        raise InputError(
            f"--early-stop must be {' or '.join(asha.METHODS)}, but got {options.early_stop!r}; choose one of these"
        )
    if options.residency not in RESIDENCIES:
        raise InputError(
            f"--residency must be {' or '.join(RESIDENCIES)}, but got {options.residency!r}; choose one of these"
        )
    if not 0 < options.gpu_memory_gb <= MOST_GIB:
        raise InputError(
            f"--gpu-memory-gb must be above 0 and at most {MOST_GIB:,.0f}, but got {options.gpu_memory_gb:g}; use 8"
        )
    if options.name is not None and len(options.name) > LONGEST_NAME:
        raise InputError(
            f"--name must have at most {LONGEST_NAME} letters, for a folder is named by it, but got "
            f"{len(options.name)}; choose a shorter one"
        )
    if options.name is not None and not NAME.fullmatch(options.name):
        raise InputError(
            f"--name must be of letters, digits, '_', '-' and '.', and begin with none of the last two, but got "
            f"{options.name!r}; choose another"
        )
    if options.num_threads < 1:
        raise InputError(f"--threads must be at least 1, but got {options.num_threads}; use 1")
    if options.fresh and options.extend:
        raise InputError("--fresh starts over and --extend goes on, but got both; choose one of these")
    if options.max_failures < 0:
        raise InputError(f"--max-failures must not be negative, but got {options.max_failures}; use 0")
    if options.seed < 0:
        raise InputError(f"--seed must not be negative, but got {options.seed}; use 0")
    if options.seed + options.num_seeds > SEEDS:
        raise InputError(
            f"--seed, and the --seeds after it, must be below 2^63, but got {options.seed} and {options.num_seeds} of "
            "them; use 0"
        )
    if options.address and options.address.startswith("ray://"):
        raise InputError(
            f"--address must be HOST:PORT, but got {options.address!r}: a ray:// client would take journal, lock and "
            "tracking off the driver; run this command on a node of the cluster, or submit it with ray job submit"
        )
    return options


def _refuse_empty(values: Mapping[str, Any]) -> None:
    """Check that no flag is given nothing: an unset variable of a shell would stand for something else in silence.

    Raises:
        InputError: One is.
    """
    for name, value in values.items():
        if value == "":
            raise InputError(
                f"--{name.replace('_', '-')} must not be empty, but got ''; is a variable of the shell unset? Set it, "
                "or leave the flag out"
            )


def _check_search(sweep: Sweep, values: Mapping[str, Any]) -> None:
    """Check the flags of searches.

    Raises:
        InputError: One breaks its rule, or goes with another kind of sweep.
    """
    if values["search"] not in METHODS:
        raise InputError(
            f"--search must be one of {', '.join(METHODS)}, but got {values['search']!r}; choose one of these"
        )
    if values["num_seeds"] < 1:
        raise InputError(f"--seeds must be at least 1, but got {values['num_seeds']}; use 3")
    flags = {"num_trials": "--trials", "max_size_mb": "--max-size-mb", "max_latency_ms": "--max-latency-ms"}
    for name, flag in flags.items():
        value = values[name]
        if value is not None and sweep.space is None:
            raise InputError(
                f"{flag} goes with a sweep that searches a space, but sweeps/{sweep.name}.py lists its cells and got "
                f"{value:g}; leave it out, or ask sweeps/search.py"
            )
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{flag} must be above 0, but got {value:g}; use a larger one")
    if sweep.space is None:
        in_order(values["search"], values["seed"], 0)
