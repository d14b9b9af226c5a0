from pathlib import Path

import pytest

from data_store.errors import InputError
from sweeps.engine.options import parse
from sweeps.kd_alpha import SWEEP


def test_defaults() -> None:
    options = parse(SWEEP, [])
    assert (options.store, options.profile, options.seed, options.gpu_memory_gb) == (None, "demo", 0, 8.0)
    assert options.results.name == "results"
    assert parse(SWEEP, ["--store", "x"]).profile == "thesis"
    assert parse(SWEEP, ["--store", "x", "--profile", "demo"]).profile == "demo"
    assert parse(SWEEP, ["--results", "a"]).results == Path.cwd() / "a"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--profile", "quick"], "--profile must be one of demo, thesis, but got 'quick'"),
        (["--gpu-memory-gb", "0"], "--gpu-memory-gb must be above 0 and at most .*, but got 0; use 8"),
        (["--gpu-memory-gb", "nan"], "--gpu-memory-gb must be above 0 and at most .*, but got nan"),
        (["--gpu-memory-gb", "1e300"], r"--gpu-memory-gb must be above 0 and at most 1,000,000, but got 1e\+300"),
        (["--name", "x" * 300], "--name must have at most 200 letters, .* but got 300; choose a shorter one"),
        (["--name", "../x"], "--name must be of letters, digits, '_', '-' and '.', .* but got '../x'"),
        (["--name", "it's"], '--name must be of letters, .* but got "it\'s"; choose another'),
        (["--residency", "disk"], "--residency must be object-store or mmap, but got 'disk'"),
        (["--threads", "0"], "--threads must be at least 1, but got 0"),
        (["--early-stop", "later"], "--early-stop must be none or asha, but got 'later'"),
        (["--seed", "-1"], "--seed must not be negative, but got -1"),
        (["--seed", str(2**63)], r"--seed, .*, must be below 2\^63, but got 9223372036854775808 and 1 of them; use 0"),
        (["--seed", str(2**63 - 2), "--seeds", "3"], r"must be below 2\^63, but got 9223372036854775806 and 3"),
        (["--results", ""], "--results must not be empty, but got ''; is a variable of the shell unset"),
        (["--store", ""], "--store must not be empty, but got ''"),
        (["--results", "s3://bucket", "--scratch", ""], "--scratch must not be empty"),
        (
            ["--results", "s3://[key:word@x/y"],
            r"--results must be a folder or s3://bucket/path, but got s3://\.\.\. \(Invalid IPv6",
        ),
        (["--results", "s3://bucket//x"], "without an empty name between slashes, but got s3://bucket//x; leave out"),
        (["--results", "s3://bucket/x#f"], "s3://bucket/path without # and .* but got s3://bucket/x#f"),
        (["--results", "s3://bucket/x#"], "s3://bucket/path without # and .* but got s3://bucket/x#"),
        (["--address", "ray://head:10001"], "ray job submit"),
        (["--results", "ftp://host/sweeps"], "--results must be a folder or s3://bucket/path, but got ftp://"),
        (["--results", "s3://key:word@bucket/a"], "an address must hold no key"),
        (["--results", "s3://bucket/a?endpoint_override=x"], "set AWS_ACCESS_KEY_ID, .* and AWS_ENDPOINT_URL on every"),
        (["--scratch", "/tmp/x"], "--scratch goes with --results s3://bucket/path, but got /tmp/x without"),
    ],
)
def test_a_bad_value_is_named(argv: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse(SWEEP, argv)


def test_a_bucket_has_a_folder_on_this_machine(tmp_path: Path) -> None:
    first, second = (parse(SWEEP, ["--results", f"s3://bucket/{name}"]) for name in ("a/", "b"))
    assert (first.bucket, second.bucket) == ("s3://bucket/a", "s3://bucket/b")
    assert first.results.parent.name == "results"
    assert first.results.name.startswith("bucket-")
    assert first.results != second.results
    assert parse(SWEEP, ["--results", "s3://bucket", "--scratch", str(tmp_path)]).results == tmp_path
    assert parse(SWEEP, []).bucket is None


def test_an_unknown_flag_or_a_word_for_a_number_is_one_line() -> None:
    with pytest.raises(InputError, match="unrecognized arguments: --profil demo --no-such-flag; see .*--help") as told:
        parse(SWEEP, ["--profil", "demo", "--no-such-flag"])
    assert "\n" not in str(told.value)
    with pytest.raises(InputError, match="--seed: invalid int value: 'one'"):
        parse(SWEEP, ["--seed", "one"])


def test_weights_and_fine_tuning() -> None:
    assert parse(SWEEP, []).weights is None
    assert not parse(SWEEP, []).fine_tune
    assert parse(SWEEP, ["--weights", "imagenet", "--fine-tune"]).fine_tune
