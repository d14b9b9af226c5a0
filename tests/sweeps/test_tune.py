"""What Tune asks Ray for: workers as Ray has started them."""

import pytest
from ray.tune.execution import class_cache, tune_controller

from sweeps.engine.tune import _workers_as_they_are


def environment_of_an_actor() -> object:
    actor = class_cache._ActorClassCache().get(type("Trainable", (), {}))
    return actor._default_options["runtime_env"]


@pytest.mark.parametrize("address", [None, "head:6379"])
def test_workers_get_no_environment_and_no_keys_from_the_driver(
    address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    manager = tune_controller.PlacementGroupResourceManager  # type: ignore[attr-defined]
    before = environment_of_an_actor()
    assert "hidden" in str(before)
    with _workers_as_they_are(address):
        assert not environment_of_an_actor()
        grouped = tune_controller.PlacementGroupResourceManager is manager  # type: ignore[attr-defined]
        assert grouped == (address is not None)
    assert environment_of_an_actor() == before
    assert tune_controller.PlacementGroupResourceManager is manager  # type: ignore[attr-defined]
