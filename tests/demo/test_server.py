"""The page's requests over a real socket, and what is refused."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import uvicorn

from demo import jobs as jobs_module
from demo.examples import Examples
from demo.jobs import Jobs
from demo.server import Models, Server, ServerSettings, may_ask
from tests.demo import films


class Running:
    """A server on a free port of this machine."""

    def __init__(self, root: Path, models: Path, *, examples: Path | None = None, max_mb: float = 5.0) -> None:
        self.root = root
        settings = ServerSettings(
            models=models, tracking_uri="sqlite:////nowhere/mlflow.db", runtime="onnx", precision="float",
            max_minutes=1, max_mb=max_mb, host="127.0.0.1",
        )  # fmt: skip
        offered = Models(settings)
        self.jobs = Jobs(root, offered.open, max_minutes=1)
        app = Server(settings, offered, self.jobs, Examples(root, examples)).app()
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]})
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, data, {name.lower(): value for name, value in answer.getheaders()}

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=20)
        self.jobs.close()


@pytest.fixture
def running(tmp_path: Path, model_folder: Path) -> Iterator[Running]:
    (tmp_path / "files").mkdir()
    server = Running(tmp_path / "files", model_folder.parent)
    yield server
    server.close()


def upload(running: Running, data: bytes, name: str = "a.mp4") -> str:
    status, answer, _ = running.ask("POST", f"/api/jobs?name={quote(name, safe='')}&model=folder:tiny", data)
    assert status == 200, answer
    return str(json.loads(answer)["key"])


def events(running: Running, key: str) -> tuple[http.client.HTTPConnection, Iterator[dict]]:  # type: ignore[type-arg]
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    connection.request("GET", f"/api/jobs/{key}/events")
    answer = connection.getresponse()
    assert answer.status == 200

    def lines() -> Iterator[dict]:  # type: ignore[type-arg]
        for line in answer:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])

    return connection, lines()


def test_a_video_goes_in_and_all_results_come_out(running: Running, drawn: Path) -> None:
    key = upload(running, drawn.read_bytes(), "../../etc/a b.mp4")
    connection, told = events(running, key)
    last = next(now for now in told if now["state"] in ("done", "failed"))
    assert last["state"] == "done"
    assert last["name"] == "a b.mp4"
    assert last["result"]["verdict"]["verdict"] == "deepfake"
    status, video, headers = running.ask("GET", f"/api/jobs/{key}/video.mp4?download=1")
    assert status == 200
    assert "a%20b-marked.mp4" in headers["content-disposition"] or "a b-marked.mp4" in headers["content-disposition"]
    path = running.root.parent / "fetched.mp4"
    path.write_bytes(video)
    assert len(films.decoded(path)) == 50
    status, part, headers = running.ask("GET", f"/api/jobs/{key}/video.mp4", Range="bytes=10-19")
    assert (status, part) == (206, video[10:20])
    status, record, _ = running.ask("GET", f"/api/jobs/{key}/record.json")
    assert len(json.loads(record)["frames"]) == 50
    assert running.ask("GET", f"/api/jobs/{key}/faces/1.jpg")[1].startswith(b"\xff\xd8")
    assert running.ask("GET", f"/api/jobs/{key}/faces/7.jpg")[0] == 404
    assert running.ask("DELETE", f"/api/jobs/{key}")[0] == 204
    connection.close()
    assert running.ask("GET", f"/api/jobs/{key}/video.mp4")[0] == 404
    assert [path.name for path in running.root.iterdir()] == []


def test_a_page_that_is_closed_takes_its_video_along(
    running: Running, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "GRACE_S", 0.3)
    key = upload(running, drawn.read_bytes())
    connection, told = events(running, key)
    assert any(now["state"] == "done" for now in told)
    time.sleep(1.5)
    assert running.ask("GET", f"/api/jobs/{key}/record.json")[0] == 200  # followed: it stays
    assert connection.sock is not None
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    end = time.monotonic() + 15
    while list(running.root.iterdir()):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert running.ask("GET", f"/api/jobs/{key}/record.json")[0] == 404


def test_an_upload_that_breaks_off_leaves_nothing(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port)) as line:
        head = f"POST /api/jobs?name=a HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\nContent-Length: 4000000\r\n\r\n"
        line.sendall(head.encode() + bytes(100_000))
        end = time.monotonic() + 10
        while not list(running.root.iterdir()):
            assert time.monotonic() < end
            time.sleep(0.02)
    while list(running.root.iterdir()):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("told", [True, False], ids=["length told", "in chunks"])
def test_an_upload_above_the_limit_is_refused(running: Running, told: bool) -> None:
    line = socket.create_connection(("127.0.0.1", running.port), timeout=20)
    head = f"POST /api/jobs?name=a HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\n"
    if told:
        line.sendall(f"{head}Content-Length: 6000000\r\n\r\n".encode())
    else:
        line.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(51):
            line.sendall(b"186a0\r\n" + bytes(100_000) + b"\r\n")
    answer = http.client.HTTPResponse(line)
    answer.begin()
    assert answer.status == 413
    assert "at most 5 MB" in json.loads(answer.read())["error"]
    line.close()
    assert list(running.root.iterdir()) == []


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml",
        "/..%2fpyproject.toml",
        "/page.css/../server.py",
        "/server.py",
        "/api/jobs/..%2f..%2fetc/video.mp4",
        "/api/jobs/nope/events",
        "/api/jobs/nope/video.mp4",
        "/api/examples/..%2f0/poster.jpg",
        "/api/examples/9/poster.jpg",
    ],
)
def test_nothing_else_is_served(running: Running, path: str) -> None:
    status, data, _ = running.ask("GET", path)
    assert status == 404
    assert b"import" not in data


def test_other_sites_are_refused(running: Running, drawn: Path) -> None:
    data = drawn.read_bytes()
    assert running.ask("GET", "/api/state", Host="evil.example")[0] == 403
    assert running.ask("POST", "/api/jobs?name=a", data, Origin="http://evil.example")[0] == 403
    assert running.ask("POST", "/api/jobs?name=a", data, Sec_Fetch_Site="cross-site")[0] == 403
    assert running.ask("DELETE", "/api/jobs/x", Origin="null")[0] == 403
    own = running.address
    assert running.ask("DELETE", "/api/jobs/x", Origin=own, Sec_Fetch_Site="same-origin")[0] == 204
    assert list(running.root.iterdir()) == []


def test_elsewhere_the_host_may_be_any_and_the_origin_must_be_the_same() -> None:
    assert may_ask("GET", {"host": "demo.lan:7860"}, "0.0.0.0")
    assert may_ask("POST", {"host": "demo.lan:7860", "origin": "http://demo.lan:7860"}, "0.0.0.0")
    assert not may_ask("POST", {"host": "demo.lan:7860", "origin": "http://other.lan:7860"}, "0.0.0.0")
    assert not may_ask("GET", {"host": "demo.lan:7860"}, "127.0.0.1")
    assert may_ask("GET", {"host": "[::1]:7860"}, "::1")
    assert not may_ask("GET", {}, "127.0.0.1")


def test_the_page_loads_nothing_from_elsewhere(running: Running) -> None:
    for path in ("/", "/page.css", "/page.js", "/timeline.js", "/camera.js"):
        status, data, headers = running.ask("GET", path)
        assert status == 200
        text = data.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text
        assert "https:" not in text
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_models_and_the_command_that_trains_one(running: Running) -> None:
    state = json.loads(running.ask("GET", "/api/state")[1])
    (model,) = state["models"]
    assert (model["key"], model["name"]) == ("folder:tiny", "tiny")
    assert state["train"] == "python sweeps/kd_alpha.py"
    assert "no results yet" in state["why_no_runs"]
    assert [example["name"] for example in state["examples"]][0].startswith("a drawn person")


def test_a_camera_gets_boxes_and_a_verdict(running: Running) -> None:
    address = "/api/live?session=s&model=folder:tiny"
    pictures = [films.jpeg(picture) for picture in films.faces(6)]
    answers = [json.loads(running.ask("POST", address, data)[1]) for data in pictures]
    (mark,) = answers[-1]["marks"]
    assert all(0 < share < 1 for share in mark["box"])
    assert mark["label"].startswith(mark["verdict"])
    assert answers[-1]["verdict"]["frames_scored"] == 6
    assert running.ask("POST", address, b"no picture")[0] == 400
    assert running.ask("POST", "/api/live?session=s&model=other", pictures[0])[0] == 400
    for other in "tu":
        status, _, _ = running.ask("POST", f"/api/live?session={other}&model=folder:tiny", pictures[0])
    assert status == 400  # two cameras are on
