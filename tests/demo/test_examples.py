from pathlib import Path

import pytest

from data_store.errors import InputError
from demo import examples as examples_module
from demo.examples import Examples
from tests.demo import films


def test_two_are_drawn_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples_module, "DRAWN_FRAMES", 3)
    monkeypatch.setattr(examples_module, "DRAWN_PX", 128)
    examples = Examples(tmp_path, None)
    assert list(tmp_path.iterdir()) == []
    real, fake = examples.all
    first, second = (films.decoded(examples.file(one)) for one in (real, fake))
    assert len(first) == len(second) == 3
    assert (first[0][1] != second[0][1]).any()
    poster = examples.poster(real)
    assert poster is not None
    assert poster.read_bytes().startswith(b"\xff\xd8")


def test_a_folders_videos_are_offered_by_their_names(tmp_path: Path, drawn: Path) -> None:
    (tmp_path / "films" / "sub").mkdir(parents=True)
    (tmp_path / "films" / "sub" / "b.mp4").write_bytes(drawn.read_bytes())
    (tmp_path / "films" / "a.mp4").write_bytes(b"no video")
    examples = Examples(tmp_path, tmp_path / "films")
    assert [one.name for one in examples.all] == ["a.mp4", "sub/b.mp4"]
    assert examples.get("1") is examples.all[1]
    assert examples.get("2") is None
    assert examples.poster(examples.all[0]) is None
    assert examples.poster(examples.all[1]) is not None
    with pytest.raises(InputError, match="holds none"):
        Examples(tmp_path, tmp_path / "films" / "empty")
