import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.fronts import costs, hypervolume, knee, non_dominated, ranks

POINTS = st.integers(2, 3).flatmap(
    lambda columns: st.lists(st.tuples(*[st.integers(0, 6)] * columns), min_size=1, max_size=40)
)


def plainly_non_dominated(points: np.ndarray) -> list[bool]:
    """The definition, pair by pair."""
    return [not any((other <= one).all() and (other < one).any() for other in points) for one in points]


@given(POINTS)
def test_the_front_is_what_the_definition_says_with_ties_and_duplicates(rows: list[tuple[int, ...]]) -> None:
    points = np.array(rows, dtype=float)
    assert non_dominated(points).tolist() == plainly_non_dominated(points)


@given(POINTS)
def test_layers_are_the_fronts_of_what_is_left(rows: list[tuple[int, ...]]) -> None:
    points = np.array(rows, dtype=float)
    left, layer = np.arange(len(points)), ranks(points)
    for rank in range(int(layer.max()) + 1):
        marks = non_dominated(points[left])
        assert (layer[left[marks]] == rank).all()
        left = left[~marks]
    assert len(left) == 0


def test_equal_points_are_all_on_the_front() -> None:
    assert non_dominated(np.ones((3, 2))).tolist() == [True, True, True]


def test_maximised_columns_are_turned_round() -> None:
    size, accuracy = np.array([13.7, 13.7, 16.3]), np.array([0.9, 0.8, 0.8])
    assert non_dominated(costs((size, False), (accuracy, True))).tolist() == [True, False, False]


def test_the_area_of_a_staircase_is_counted_once() -> None:
    points = np.array([[1.0, 3.0], [2.0, 2.0], [2.5, 2.5], [3.0, 1.0], [9.0, 0.0]])
    assert hypervolume(points, np.array([4.0, 4.0])) == pytest.approx(3 + 2 + 1)


def test_the_knee_is_the_point_that_bulges_most() -> None:
    points = np.array([[0.0, 10.0], [1.0, 2.0], [5.0, 1.0], [10.0, 0.0], [9.0, 9.0]])
    assert knee(points) == 1


def test_two_points_or_a_straight_front_have_no_knee() -> None:
    assert knee(np.array([[0.0, 1.0], [1.0, 0.0]])) is None
    assert knee(np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]])) is None
    assert knee(np.ones((5, 2))) is None


def test_what_cannot_be_sorted_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        non_dominated(np.array([[1.0, np.nan]]))
    for shape in ((3,), (3, 1), (0, 2)):
        with pytest.raises(ValueError, match="points must be"):
            non_dominated(np.ones(shape))


def boxes(points: np.ndarray, reference: np.ndarray) -> int:
    """Count the unit cells that at least one point dominates: the volume of whole-numbered points."""
    cells = np.stack(np.meshgrid(*[np.arange(int(end)) for end in reference], indexing="ij"), axis=-1)
    cells = cells.reshape(-1, points.shape[1])
    return int(sum((points <= cell).all(axis=1).any() for cell in cells))


@given(POINTS)
def test_the_hypervolume_is_the_number_of_dominated_cells(rows: list[tuple[int, ...]]) -> None:
    points = np.array(rows, dtype=float)
    reference = np.array([5.0, 6.0, 4.0][: points.shape[1]])
    assert hypervolume(points, reference) == pytest.approx(boxes(points, reference))


@pytest.mark.parametrize("columns", [2, 3])
def test_fronts_and_hypervolumes_agree_with_optuna_on_a_thousand_sets(columns: int) -> None:
    """Sets with ties and duplicates, as sweeps over few sizes have them."""
    from optuna._hypervolume import compute_hypervolume
    from optuna.study._multi_objective import _fast_non_domination_rank, _is_pareto_front

    generator = np.random.default_rng(columns)
    for _ in range(1000):
        points = generator.integers(0, 12, (generator.integers(1, 40), columns)).astype(float)
        points = points[generator.integers(0, len(points), len(points))]
        assert (non_dominated(points) == _is_pareto_front(points, assume_unique_lexsorted=False)).all()
        assert (ranks(points) == _fast_non_domination_rank(points)).all()
        reference = np.full(columns, 10.0)
        inside = points[(points < reference).all(axis=1)]
        theirs = compute_hypervolume(inside, reference) if len(inside) else 0.0
        assert hypervolume(points, reference) == pytest.approx(theirs)
