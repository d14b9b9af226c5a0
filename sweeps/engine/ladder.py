"""What a trial does to fit the memory budget: mixed precision, then smaller micro-batches, then refusal.

The rung is part of the config, so a trial is what it says it is. Predictions need torch: they are made by a process
of its own for the shapes that the cache lacks, and a sweep whose shapes are all cached is planned without it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from data_store.errors import InputError
from sweeps.engine.forecast import Forecasts, shape_key
from sweeps.engine.space import PlannedTrial
from trainables.recipes import TrialConfig, identity

Shape = tuple[str, int]
"""(architecture, resolution_px) of a network."""


def rungs(config: TrialConfig) -> Iterator[TrialConfig]:
    """Return the config in fp32, in mixed precision, then with ever half the micro-batch, down to 1."""
    yield replace(config, precision="fp32", micro_batch=None)
    mixed = replace(config, precision="amp", micro_batch=None)
    yield mixed
    size = config.recipe.batch_size
    while size > 1:
        size = (size + 1) // 2
        yield replace(mixed, micro_batch=size)


def rung_name(config: TrialConfig) -> str:
    """Return how a config fits, for people: ``fp32``, ``amp`` or ``amp, micro-batch 8``."""
    return config.precision if config.micro_batch is None else f"{config.precision}, micro-batch {config.micro_batch}"


class Ladder:
    """Maps a config to the first of its rungs that fits; call it with each config before its identity is taken.

    While it gathers, configs whose need is not known pass as they are, and are noted; plan again after ``predict``.

    Attributes:
        missing: What was noted: the config in full precision and its teacher's network, by ``shape_key``.
    """

    def __init__(
        self, budget_bytes: int, forecasts: Forecasts, store_digest: str, teachers: Mapping[str, Shape]
    ) -> None:
        """Start to gather.

        Args:
            budget_bytes: What a trial may need when it runs alone.
            forecasts: Known needs, and where others come from.
            store_digest: Of the store, for identities.
            teachers: Networks of given models, by the digest that configs name.
        """
        self.budget_bytes = budget_bytes
        self.forecasts = forecasts
        self.store_digest = store_digest
        self.teachers = dict(teachers)
        self.gathering = True
        self.missing: dict[str, tuple[TrialConfig, Shape | None]] = {}

    def __call__(self, config: TrialConfig) -> TrialConfig:
        """Return the rung that fits; the config as it is while its need is not known.

        Raises:
            InputError: No rung fits.
        """
        teacher = self.teacher_of(config)
        known = self._known(config, teacher)
        if known is None and not self.gathering:
            self.forecasts.predict([(config, teacher)], self.budget_bytes)
            known = self._known(config, teacher)
            assert known is not None
        if known is None:
            first = next(rungs(config))
            self.missing[shape_key(first, teacher)] = (first, teacher)
            fitting = config
        else:
            fitting = self._first_that_fits(known)
        self.teachers[identity(fitting, self.store_digest)] = (config.architecture, config.resolution_px)
        return fitting

    def know(self, planned: Mapping[str, PlannedTrial]) -> None:
        """Take in trials by identity that were planned by another command: others may learn from them."""
        self.teachers |= {trial: (row.config.architecture, row.config.resolution_px) for trial, row in planned.items()}

    @property
    def complete(self) -> bool:
        """Whether every config so far was mapped."""
        return not self.missing

    def predict(self, *, least_rungs: int = 1) -> None:
        """Make the predictions that were missing, of so many rungs at least, and gather no longer."""
        self.forecasts.predict(list(self.missing.values()), self.budget_bytes, least_rungs=least_rungs)
        self.missing.clear()
        self.gathering = False

    def need(self, config: TrialConfig) -> int:
        """Return the predicted peak bytes of a config as it stands."""
        teacher = self.teacher_of(config)
        need = self.forecasts.bytes_of(config, teacher)
        if need is None:
            self.forecasts.predict([(config, teacher)], self.budget_bytes, exactly=True)
            need = self.forecasts.bytes_of(config, teacher)
            assert need is not None
        return need

    def teacher_of(self, config: TrialConfig) -> Shape | None:
        """Return the network that stays loaded beside the trial's own."""
        return self.teachers[config.teacher] if config.teacher else None

    def _known(self, config: TrialConfig, teacher: Shape | None) -> list[tuple[TrialConfig, int]] | None:
        """Return rungs with their bytes, the last of them the first that fits, or the lowest where none does.

        None when a prediction is missing that is needed to tell.
        """
        ladder = list(rungs(config))
        lowest = self.forecasts.bytes_of(ladder[-1], teacher)
        if len(ladder) > 2 and lowest is not None and lowest > self.budget_bytes:
            ladder = [*ladder[:2], ladder[-1]]
        found = []
        for rung in ladder:
            need = self.forecasts.bytes_of(rung, teacher)
            if need is None:
                return None
            found.append((rung, need))
            if need <= self.budget_bytes:
                break
        return found

    def _first_that_fits(self, known: list[tuple[TrialConfig, int]]) -> TrialConfig:
        config, need = known[-1]
        if need > self.budget_bytes:
            raise InputError(
                f"a trial must fit the memory budget of {self.budget_bytes / 2**30:.2f} GiB, but "
                f"{config.architecture} at {config.resolution_px} px, batch {config.recipe.batch_size}, needs "
                f"{known[0][1] / 2**30:.2f} GiB in fp32 and still {need / 2**30:.2f} GiB with {rung_name(config)}; "
                f"raise --gpu-memory-gb by {(need - self.budget_bytes) / 2**30 + 0.01:.2f}"
            )
        return config
