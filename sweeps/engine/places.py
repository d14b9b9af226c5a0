"""Where a sweep keeps what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sweeps.engine.journal import State
from trainables.attempts import MODEL_FOLDER, attempt_folder
from trainables.mirror import Mirror


@dataclass(frozen=True, kw_only=True)
class Places:
    """Folders of one sweep.

    Attributes:
        sweep: The sweep's own folder.
        models: Folders of given models, by content digest.
        bucket: Address of the sweep in a bucket, whose copy on this machine ``sweep`` is then; else None.
    """

    sweep: Path
    models: Mapping[str, Path] = field(default_factory=dict)
    bucket: str | None = None

    @property
    def mirror(self) -> Mirror:
        """What sends the sweep's files to the bucket and brings them here."""
        return Mirror(local=self.sweep, address=self.bucket)

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

    def bring(self, trial: str) -> None:
        """Bring here what workers have written of a trial, where that lies in a bucket."""
        self.mirror.refresh(self.trial(trial))

    def trained(self, digest: str, state: State) -> Path:
        """Return the folder of a finished trial's model, which is here."""
        folder = self.model(digest, state)
        assert folder is not None
        self.bring(digest)
        return folder
