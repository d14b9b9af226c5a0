"""What trials took from the socket, where the machine counts it: NVML on a GPU, RAPL on a CPU; nothing is guessed.

Both count the energy of a whole card or package, whoever used it. What was counted is dealt in equal shares to the
trials that ran at the time, so that the shares of a sweep add up to what the machine counted while it trained.
"""

from collections.abc import Callable, Collection
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
J_PER_WH = 3600.0

Counter = Callable[[], float | None]
"""Joules since the counter's first reading, or None where it cannot be read any more."""


class Energy:
    """Deals what a counter counts to the trials that run."""

    def __init__(self, counter: Counter | None) -> None:
        """Begin at the counter's first reading.

        Args:
            counter: Read now and at each call of ``count``; None where nothing counts.
        """
        self._counter = counter
        self._last_j = counter() if counter else None
        self._joules: dict[str, float] = {}
        self._partial: set[str] = set()

    def started(self, trial: str, *, anew: bool) -> None:
        """Begin a trial's share; what an earlier attempt took was not counted here, so there is no whole to tell."""
        self._joules[trial] = 0.0
        if not anew:
            self._partial.add(trial)

    def count(self, running: Collection[str]) -> None:
        """Deal what was counted since the last call to the trials that ran since then."""
        if self._counter is None or self._last_j is None:
            return
        before, now = self._last_j, self._counter()
        self._last_j = now
        if now is None:
            return
        for trial in running:
            self._joules[trial] = self._joules.get(trial, 0.0) + (now - before) / len(running)

    def of(self, trial: str) -> float | None:
        """Return a trial's share in Wh; None where it was not counted from the trial's begin to now."""
        if self._last_j is None or trial in self._partial or trial not in self._joules:
            return None
        return self._joules[trial] / J_PER_WH


def counter(device: str) -> Counter | None:
    """Return the counter of this machine's device, ``cpu`` or ``cuda``, or None where there is none to read."""
    return nvml() if device == "cuda" else rapl()


def rapl(root: Path = POWERCAP) -> Counter | None:
    """Return the counter of all CPU packages, which on most systems only root may read.

    Args:
        root: Where the kernel shows them: ``intel-rapl:0`` is a package (AMD's, too), ``intel-rapl:0:0`` a part of it,
            and ``psys``, where there is one, counts the packages again.
    """
    zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if zone.name.count(":") == 1]
    try:
        packages = [zone for zone in zones if (zone / "name").read_text().startswith("package")]
        ranges = [int((zone / "max_energy_range_uj").read_text()) for zone in packages]
        last = [int((zone / "energy_uj").read_text()) for zone in packages]
    except OSError:
        return None
    total = 0

    def read() -> float | None:
        nonlocal total
        for place, (zone, most) in enumerate(zip(packages, ranges, strict=True)):
            try:
                now = int((zone / "energy_uj").read_text())
            except OSError:
                return None
            total += now - last[place] if now >= last[place] else now + most - last[place]  # it starts over
            last[place] = now
        return total / 1e6

    return read if packages else None


def nvml() -> Counter | None:
    """Return the counter of all GPUs (Volta or later), or None where the driver's NVML does not count."""
    import pynvml

    def total_mj() -> int:
        return sum(pynvml.nvmlDeviceGetTotalEnergyConsumption(card) for card in cards)

    try:
        pynvml.nvmlInit()
        cards = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        first = total_mj()
    except pynvml.NVMLError:
        return None

    def read() -> float | None:
        try:
            return (total_mj() - first) / 1e3
        except pynvml.NVMLError:
            return None

    return read if cards else None
