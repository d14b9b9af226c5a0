from tests.conftest import skips_not_allowed


def test_a_skip_is_allowed_only_by_a_marker_on_the_list() -> None:
    allowed = "gpu:this machine has none samples:not here"
    assert skips_not_allowed([{"gpu"}, {"samples", "slow"}], allowed) == 0
    assert skips_not_allowed([{"gpu"}, {"ray"}, set()], allowed) == 2
    assert skips_not_allowed([{"gpu"}], "") == 1
