"""What containers are made from, checked by linters and schemas: no container engine runs here."""

import json
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import kubernetes_validate
import pytest
import yaml
from ray.autoscaler._private.commands import _set_up_config_for_head_node
from ray.autoscaler._private.util import fillout_defaults, validate_config

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
KUBERNETES = "1.34"

# The fields of KubeRay 1.7's ray.io/v1 that rayjob.yaml may use, after its API reference.
RAY_JOB = {"entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec", "runtimeEnvYAML"}
RAY_CLUSTER = {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
GROUP = {"rayStartParams", "template"}
WORKER_GROUP = GROUP | {"groupName", "replicas", "minReplicas", "maxReplicas"}


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_dockerfile_passes_its_linter_which_finds_a_planted_fault(tmp_path: Path) -> None:
    done = tool("hadolint", "docker/Dockerfile")
    assert done.returncode == 0, done.stdout
    planted = tmp_path / "Dockerfile"
    planted.write_text((DOCKER / "Dockerfile").read_text().replace("FROM python:3.11-slim-bookworm", "FROM python", 1))
    assert "DL3006" in tool("hadolint", str(planted)).stdout


def test_the_image_is_pinned_by_the_lock_and_runs_as_nobody_special() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    assert text.count("\nFROM ") == 2
    assert "--require-hashes" in text
    assert "--constraints requirements.lock" in text
    users = re.findall(r"^USER (\S+)", text, re.MULTILINE)
    assert users[-1] == "1000:1000"
    assert text.index("\nARG REVISION=\nENV SWEEPS_REVISION=$REVISION\n") > text.index("AS build")
    assert COMPOSE["services"]["mlflow"]["build"]["args"]["REVISION"] == "${REVISION:-}"
    copied = {word for line in re.findall(r"^COPY (?!--from)(.+)", text, re.MULTILINE) for word in line.split()[:-1]}
    allowed = {
        line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_compose_files_follow_the_schema_which_finds_a_planted_fault(tmp_path: Path) -> None:
    files = [str(DOCKER / name) for name in ("compose.yaml", "compose.cuda.yaml")]
    done = tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files)
    assert done.returncode == 0, done.stdout
    planted = tmp_path / "compose.yaml"
    planted.write_text((DOCKER / "compose.yaml").read_text().replace("shm_size:", "shm_sizes:"))
    assert "shm_sizes" in tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(planted)).stdout


def test_every_service_is_healthy_before_the_next_and_open_to_this_machine_alone() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"postgres", "mlflow", "ray-head", "ray-worker", "sweep"}
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert len(published) == 2
    assert all(port.startswith("127.0.0.1:") for port in published)
    for name, service in services.items():
        assert ("healthcheck" in service) == (name != "sweep")
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, (name, needed)
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or source.startswith("${STORE"), volume
    assert services["ray-head"]["hostname"] == "ray-head"
    for name in ("ray-head", "ray-worker"):
        assert services[name]["shm_size"] == "${SHM_SIZE:-4gb}"
        assert re.fullmatch(r"\$\{\w+_MEMORY:-8gb\}", services[name]["deploy"]["resources"]["limits"]["memory"])
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} <= services["mlflow"][
        "environment"
    ].keys()
    assert " WORKER_CPUS=" in (DOCKER / "compose.cuda.yaml").read_text()
    assert services["ray-worker"]["deploy"]["replicas"]


def test_one_service_builds_the_image_that_all_others_take() -> None:
    """One that both documented commands start; Compose builds services side by side, and two would fail."""
    ours = {name: told for name, told in COMPOSE["services"].items() if name != "postgres"}
    assert {told["image"] for told in ours.values()} == {"deepfake-sweeps:${VARIANT:-cpu}"}
    assert {name: told.get("pull_policy") for name, told in ours.items() if name != "mlflow"} == {
        "ray-head": "never",
        "ray-worker": "never",
        "sweep": "never",
    }
    assert [name for name, told in COMPOSE["services"].items() if "build" in told] == ["mlflow"]
    text = (ROOT / "docs" / "cluster.md").read_text()
    starts = re.findall(r"^docker compose .* up .*--build .*$", text, re.MULTILINE)
    assert len(starts) == 2
    assert all(line.endswith(("--wait", " mlflow")) for line in starts)


def words(tree: object) -> Iterator[str]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield f"{key}={value}" if isinstance(value, (str, int)) else str(key)
            yield from words(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from words(value)
    elif tree is not None:
        yield str(tree)


def gives_a_secret(text: str) -> bool:
    """Say whether a setting holds a password or key itself, in place of the name of a file or nothing."""
    return bool(re.search(r"(?i)\b\w*(password|secret|token|key(_id)?)=(?!~?/).", text))


def test_no_secret_is_in_a_file() -> None:
    assert gives_a_secret("POSTGRES_PASSWORD=mlflow")
    assert gives_a_secret("AWS_SECRET_ACCESS_KEY=abc")
    assert gives_a_secret("--env=POSTGRES_PASSWORD=mlflow")
    assert not gives_a_secret("POSTGRES_PASSWORD=")
    files = list(DOCKER.glob("*.yaml"))
    assert len(files) == 4
    for path in files:
        settings = [word for document in yaml.safe_load_all(path.read_text()) for word in words(document)]
        assert len(settings) > 5
        assert [word for word in settings if gives_a_secret(word)] == []
    assert "docker/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_secrets_are_drawn_once_and_lie_in_a_closed_folder(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    subprocess.run(["sh", DOCKER / "make_secrets.sh", folder], check=True)
    drawn = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(drawn) == set(COMPOSE["secrets"])
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in drawn.values())
    assert len(set(drawn.values())) == len(drawn)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    subprocess.run(["sh", DOCKER / "make_secrets.sh", folder], check=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == drawn


def test_what_the_cpu_image_drops_is_never_opened_without_a_gpu(tmp_path: Path) -> None:
    """Drop the same from a copy made of links: every library that training on a CPU maps is still there."""
    site = next(Path(sys.prefix).glob("lib/python3*/site-packages"))
    copy = tmp_path / "venv" / site.relative_to(sys.prefix)
    for name in ("nvidia", "triton"):
        for source in (site / name).rglob("*"):
            if source.is_file():
                target = copy / source.relative_to(site)
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    target.hardlink_to(source)
                except OSError:  # another file system
                    target.write_bytes(b"")
    subprocess.run(["sh", DOCKER / "drop_cuda.sh", tmp_path / "venv"], check=True)
    train = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch, torchvision\n"
        "torchvision.models.efficientnet_b0()(torch.zeros(2, 3, 64, 64)).sum().backward()\n"
        "print('\\n'.join({line.split()[-1] for line in open('/proc/self/maps') if '/nvidia/' in line}))"
    )
    done = subprocess.run([sys.executable, "-c", train], capture_output=True, text=True, check=True)
    opened = [Path(line).relative_to(site) for line in done.stdout.splitlines()]
    assert len(opened) > 5
    assert [path for path in opened if not (copy / path).exists()] == []
    kept = sum((site / path.relative_to(copy)).stat().st_size for path in copy.rglob("*") if path.is_file())
    total = sum(path.stat().st_size for name in ("nvidia", "triton") for path in (site / name).rglob("*"))
    assert total - kept > 2e9


def test_kubernetes_documents_follow_their_schemas() -> None:
    claim, job = yaml.safe_load_all((DOCKER / "rayjob.yaml").read_text())
    kubernetes_validate.validate(claim, KUBERNETES, strict=True)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    assert set(spec) <= RAY_JOB
    assert set(cluster) <= RAY_CLUSTER
    assert cluster["authOptions"] == {"mode": "token"}
    assert f"\nray=={cluster['rayVersion']} " in (ROOT / "requirements.lock").read_text()
    (workers,) = cluster["workerGroupSpecs"]
    assert set(cluster["headGroupSpec"]) == GROUP
    assert set(workers) == WORKER_GROUP
    for group in (cluster["headGroupSpec"], workers):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert {"name": "shm", "mountPath": "/dev/shm"} in group["template"]["spec"]["containers"][0]["volumeMounts"]
    broken = json.loads(json.dumps(pod))
    broken["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def test_the_object_store_of_every_pod_holds_faceforensics_by_the_thesiss_caps() -> None:
    """As docs/scale.md has it: 4.2 GB of 30 % of the memory, all of which must lie in /dev/shm."""
    assert "| FF++, the thesis's caps | 25,000 | 3.8 GB | 30 | 1.5 | 4.2 GB |" in (ROOT / "docs/scale.md").read_text()
    job = list(yaml.safe_load_all((DOCKER / "rayjob.yaml").read_text()))[1]
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (shm,) = [volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "shm"]
        memory = pod["containers"][0]["resources"]["limits"]["memory"]
        memory_gib, shm_gib = (int(size.removesuffix("Gi")) for size in (memory, shm["sizeLimit"]))
        assert 4.2e9 <= 0.3 * memory_gib * 2**30 <= shm_gib * 2**30


def test_the_ray_up_file_follows_rays_schema() -> None:
    config = yaml.safe_load((DOCKER / "ray_up.yaml").read_text())
    validate_config(fillout_defaults(config))
    starts = [command for command in config["head_start_ray_commands"] if "ray start" in command]
    assert "--dashboard-host=127.0.0.1" in starts[0]
    for word in ("--tracking-uri=http://", "rsync", "uid 1000"):
        assert word in (DOCKER / "ray_up.yaml").read_text().partition("cluster_name:")[0]
    with pytest.raises(Exception, match="max_worker"):
        validate_config(fillout_defaults({**config, "max_worker": 2}))


def test_the_head_of_ray_up_gets_the_key_with_which_it_starts_the_workers() -> None:
    """The autoscaler runs in the head's container, where nobody's keys are."""
    config = fillout_defaults(yaml.safe_load((DOCKER / "ray_up.yaml").read_text()))
    provider = SimpleNamespace(prepare_for_head_node=lambda prepared: prepared)
    mounted, rewritten = _set_up_config_for_head_node(config, provider, no_restart=False)  # type: ignore[arg-type]
    with rewritten:
        on_head = json.loads(Path(rewritten.name).read_text())
    key = on_head["auth"]["ssh_private_key"]
    assert mounted["file_mounts"][key] == config["auth"]["ssh_private_key"] == "~/.ssh/id_ed25519"
    token = mounted["file_mounts"]["/home/sweeper/.ray/auth_token"]
    assert token == "~/.ray/auth_token"
