"""Where a sweep keeps what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sweeps.engine.journal import State
from trainables.attempts import MODEL_FOLDER, attempt_folder


@dataclass(frozen=True, kw_only=True)
class Places:
    """Folders of one sweep.

    Attributes:
        sweep: The sweep's own folder.
        models: Folders of given models, by content digest.
    """

    sweep: Path
    models: Mapping[str, Path] = field(default_factory=dict)

    def trial(self, trial: str) -> Path:
        """Return a trial's folder."""
        return self.sweep / "trials" / trial[:16]

    def found(self, trial: str) -> Path:
        """Return the folder below which a model that another sweep trained is put."""
        return self.trial(trial) / "found"

    @property
    def signals(self) -> Path:
        """Folder of all teachers' logits."""
        return self.sweep / "signals"

    def model(self, digest: str, state: State) -> Path | None:
        """Return the folder of a given model, or of a finished trial's; None while there is none."""
        if digest in self.models:
            return self.models[digest]
        if digest in state.found:
            return self.found(digest) / MODEL_FOLDER
        if digest in state.finished:
            return attempt_folder(self.trial(digest), state.attempts[digest]) / MODEL_FOLDER
        return None
