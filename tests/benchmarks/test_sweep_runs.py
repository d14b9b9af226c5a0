"""What the engine's benchmarks read out of logs and notes, held against logs whose answer is known."""

from pathlib import Path

import pytest

from benchmarks import bench_handover, bench_kills
from benchmarks.sweep_runs import Reported, Step, epochs_done, reported, steps

LOG = """00:31    2 at a time, 1 CPU thread each; predicted memory at most 0.33 GiB a trial, budget 8 GiB
01:57    seed=0       epoch  1/4  train loss 0.713  val loss 0.696  val accuracy 0.500
02:00    seed=1       epoch  1/4  train loss 0.612  val loss 0.710  val accuracy 0.500  17 to 34 s left
02:03    seed=1       epoch  2/4  train loss 0.570  val loss 0.671  val accuracy 0.500  1.5 to 2.5 min left
02:04    seed=0       is tried again (1 of 3): its process died (log: /x)
02:09    seed=0       epoch  2/4  train loss 0.623  val loss 0.746  val accuracy 0.500  about 3 s left
02:29    seed=2       epoch  4/4  train loss 0.506  val loss 0.685  val accuracy 0.562  all are trained
"""


def test_epochs_are_read_with_the_middle_of_the_time_left(tmp_path: Path) -> None:
    folder = tmp_path / "sweeps" / "seeds-demo-0" / "logs"
    folder.mkdir(parents=True)
    (folder / "2026-01-01T00-00-00-1.log").write_text(LOG)
    assert reported(tmp_path) == [
        [
            Reported(117, 0, 1, None),
            Reported(120, 1, 1, 25.5),
            Reported(123, 1, 2, 120.0),
            Reported(129, 0, 2, 3.0),
            Reported(149, 2, 4, None),
        ]
    ]


def test_an_epoch_that_was_whole_and_is_begun_again_counts_as_two() -> None:
    def launch(*epochs: int) -> list[Reported]:
        return [Reported(0, 0, epoch, None) for epoch in epochs]

    assert bench_kills._begun_again([launch(1, 2), launch(3, 4)])[0] == 1  # the third was cut off
    assert bench_kills._begun_again([launch(1, 2), launch(2, 3)])[0] == 2  # the second is lost as well
    assert bench_kills._begun_again([launch(1, 2), launch(4)])[0] == 0  # an orphan had saved the third
    assert bench_kills._begun_again([launch(1, 2, 2, 3)])[0] == 2  # within one launch, after a worker's death
    assert bench_kills._begun_again([launch(1, 2, 3, 4)])[0] == 0


def test_the_raylet_is_killed_while_training_is_left() -> None:
    size = bench_kills.FULL
    kinds = bench_kills._schedule(size)
    counts = {kind: kinds.count(kind) for kind in ("driver", "worker", "raylet")}
    assert counts == {"driver": 10, "worker": 5, "raylet": 5}
    assert "raylet" not in kinds[10:]
    assert kinds == bench_kills._schedule(size)


def test_the_estimate_is_judged_by_what_it_took() -> None:
    size = bench_kills.Size(
        trials=1, epochs=20, crops=1, driver_kills=0, worker_kills=0, raylet_kills=0, left_s=0, train_s=0
    )
    epochs = [Reported(10 * epoch, 0, epoch, 150.0 if epoch == 2 else 1.0) for epoch in range(1, 21)]
    row = bench_kills._estimated(epochs, size)
    assert row["ratio"] == pytest.approx(30 / 180, rel=0.01)
    assert row["pass"]


def test_hand_overs_are_gaps_of_a_process_or_of_a_freed_cpu() -> None:
    ours = [Step(1, 0, 0.0, 1.0, 9), Step(1, 0, 1.0, 2.0, 9), Step(1, 1, 2.25, 3.0, 9), Step(2, 2, 0.0, 4.0, 9)]
    assert bench_handover._gaps(bench_handover._spans(ours, per_process=True)) == [0.25]
    stock = [Step(1, 0, 0.0, 2.0, 9), Step(2, 1, 0.5, 3.0, 9), Step(3, 2, 7.0, 8.0, 9), Step(4, 3, 9.0, 9.5, 9)]
    assert bench_handover._slot_gaps(bench_handover._spans(stock, per_process=False)) == [5.0, 6.0]


def test_notes_and_checkpoints_are_read(tmp_path: Path) -> None:
    (tmp_path / "12.txt").write_text("0 1.0 2.0 300\n1 3.0 4.0 400\n")
    assert steps(tmp_path) == [Step(12, 0, 1.0, 2.0, 300), Step(12, 1, 3.0, 4.0, 400)]
    for trial, attempt, epoch in (("a", 1, 2), ("a", 2, 3), ("b", 1, 1)):
        folder = tmp_path / "sweeps" / "s" / "trials" / trial / f"attempt-000{attempt}" / f"epoch-000{epoch}"
        folder.mkdir(parents=True)
        (folder / "state.json").touch()
    assert epochs_done(tmp_path) == 4
