from dataclasses import replace

from analysis.lineage import fits, kinds
from analysis.runs import DataIdentity, Trial
from analysis.thesis import MODELS

DIGEST = "ab" * 32


def trial(run_id: str, tags: dict[str, str] | None = None, **params: str) -> Trial:
    return Trial(
        run_id=run_id,
        name=run_id,
        sweep="s",
        experiment="s",
        experiment_id="1",
        role="student",
        data=DataIdentity(store_digest="d", split_kind="official"),
        status="FINISHED",
        started=0,
        ended=1,
        artifact_uri="",
        params={"architecture": "Lite0", **{name.replace("__", "."): value for name, value in params.items()}},
        tags=tags or {},
    )


def test_start_weights_are_followed_to_the_trial_that_made_them() -> None:
    teacher = replace(trial("teacher", tags={"trial": DIGEST}, weights="imagenet"), params={"architecture": "B0"})
    student = trial("student", weights=DIGEST)
    unknown = trial("unknown", weights="cd" * 32)
    found = kinds([teacher, student, unknown])
    assert [found[name].start for name in ("teacher", "student", "unknown")] == ["none", "trained B0", "cd" * 32]


def test_a_row_of_the_thesis_takes_only_what_fits_it() -> None:
    rows = {
        "plain": trial("plain", weights="imagenet", alpha="0.0", recipe__name="thesis training"),
        "tuned": trial("tuned", weights="imagenet", alpha="0.0", recipe__name="thesis fine-tuning"),
        "taught": trial("taught", weights="imagenet", alpha="0.5"),
        "pruned": trial("pruned", weights="imagenet", prune_ratio="0.05", prune_scope="local"),
    }
    found = kinds(list(rows.values()))
    lite = MODELS["Lite0, from Lite0 ImageNet weights"]
    assert [name for name in rows if fits(found[name], lite)] == ["plain"]
    assert [name for name in rows if fits(found[name], MODELS["Lite0, local pruning 5%"])] == ["pruned"]
    assert (found["pruned"].ratio, found["pruned"].steps, found["plain"].steps) == (0.05, 1, 0)


def test_every_row_of_the_published_table_can_be_matched() -> None:
    from analysis.published import published

    assert list(MODELS) == list(published()["accuracy"])


def test_a_parameter_that_is_no_number_counts_as_unset() -> None:
    assert kinds([trial("a", alpha="none")])["a"].alpha == 0.0
    assert kinds([trial("a", alpha="auto")])["a"].alpha == 0.0
