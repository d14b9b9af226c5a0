from dataclasses import replace

from analysis.lineage import fits, kinds, sources
from analysis.published import published
from analysis.runs import DataIdentity, Trial
from analysis.thesis import ALPHAS, MODELS, alpha_row, ratio_row

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
    assert [found[name].start for name in ("teacher", "student", "unknown")] == ["none", "trained B0", "given"]
    assert sources([teacher, student, unknown]) == {"student": teacher}


def test_a_scored_model_is_not_taken_for_a_random_start() -> None:
    """A model given by its content is scored unchanged, so that the run's own model is the one it started from."""
    scored = trial("scored", tags={"model": DIGEST}, weights=DIGEST, recipe__name="evaluation")
    assert kinds([scored])["scored"].start == "given"


def test_a_row_of_the_thesis_takes_only_what_fits_it() -> None:
    """The parameters are those of `to_dict` of a trial's config, flattened."""
    channels = {"pruning__by": "channels", "pruning__scope": "local", "pruning__iterations": "1"}
    macs = {**channels, "pruning__by": "macs"}
    rows = {
        "plain": trial("plain", weights="imagenet", alpha="0.0", recipe__name="thesis training", precision="fp32"),
        "tuned": trial("tuned", weights="imagenet", alpha="0.0", recipe__name="thesis fine-tuning"),
        "taught": trial("taught", weights="imagenet", alpha="0.5"),
        "constant": trial("constant", weights="imagenet", recipe__schedule="constant"),
        "int8": trial("int8", weights="imagenet", quantisation="static"),
        "pruned": trial("pruned", {}, weights="imagenet", pruning__ratio="0.05", **channels),
        "pruned by macs": trial("pruned by macs", {}, weights="imagenet", pruning__ratio="0.05", **macs),
    }
    found = kinds(list(rows.values()))
    lite = MODELS["Lite0, from Lite0 ImageNet weights"]
    assert [name for name in rows if fits(found[name], lite)] == ["plain"]
    assert [name for name in rows if fits(found[name], MODELS["Lite0, local pruning 5%"])] == ["pruned"]
    assert (found["pruned"].ratio, found["pruned"].steps, found["plain"].steps) == (0.05, 1, 0)


def test_what_the_sweeps_plan_fills_every_row_of_the_thesis() -> None:
    """The sweeps' own configs with the thesis's settings, recorded as the engine does, answer each row."""
    from sweeps import kd_alpha, kd_prune, lite, model_scaling, prune_ratio, quantise, schedule, transfer
    from sweeps.engine.space import PROFILES, Setting
    from sweeps.engine.tracking import _params

    setting = Setting(profile=PROFILES["thesis"], seed=0, store_digest="d", device="cpu", num_threads=1)
    recorded = []
    for module in (kd_alpha, kd_prune, lite, model_scaling, prune_ratio, quantise, schedule, transfer):
        for number, planned in enumerate(module.trials(setting)):
            one = trial(f"{module.__name__} {number} {planned.name}", {"trial": setting.identity(planned.config)})
            recorded.append(replace(one, params=_params(planned)))
    found = kinds(recorded)
    rows = {**MODELS, **{f"alpha {alpha}": alpha_row(alpha) for alpha in ALPHAS}}
    rows |= {f"{row['ratio']} {row['kd']}": ratio_row(row["ratio"], kd=row["kd"]) for row in published()["prune_ratio"]}
    assert [name for name, row in rows.items() if not any(fits(kind, row) for kind in found.values())] == []
    for name, row in MODELS.items():
        fitting = {r.params["weights"] for r in recorded if fits(found[r.run_id], row)}
        assert len(fitting) == 1, (name, fitting)


def test_every_row_of_the_published_table_can_be_matched() -> None:
    assert list(MODELS) == list(published()["accuracy"])


def test_a_parameter_that_is_no_number_counts_as_unset() -> None:
    assert kinds([trial("a", alpha="none")])["a"].alpha == 0.0
    assert kinds([trial("a", alpha="auto")])["a"].alpha == 0.0
