"""The web page's requests: models, uploads, progress, results, the camera. Plain HTTP, nothing from elsewhere."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from data_store.errors import InputError
from demo.choosing import TRAIN_FIRST, ChosenModel, Offer, offers, open_model
from demo.drawing import COLOURS
from demo.examples import Examples
from demo.jobs import DONE, FullError, Job, Jobs
from demo.live import LARGEST_BYTES, LiveSessions
from demo.verdicts import AUTHENTIC_BELOW, DEEPFAKE_ABOVE

HERE = Path(__file__).resolve().parent
FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/timeline.js": ("timeline.js", "text/javascript; charset=utf-8"),
    "/camera.js": ("camera.js", "text/javascript; charset=utf-8"),
}
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
OPEN_MODELS = 3
OFFERS_S = 15.0
POLL_S = 0.2
QUIET_S = 5.0
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """What a server was started with."""

    models: Path | None
    """Folder of exported models."""
    tracking_uri: str | None
    """MLflow's address; None for the project's own."""
    runtime: str
    """``onnx`` or ``torch``."""
    precision: str
    """``float`` or ``int8``."""
    max_minutes: float
    """Longest video."""
    max_mb: float
    """Largest upload, in 10^6 bytes."""
    host: str
    """Address that it listens on."""


class Models:
    """The models on offer, and the few that are open."""

    def __init__(self, settings: ServerSettings) -> None:
        """Read nothing yet."""
        self._settings = settings
        self._lock = threading.Lock()
        self._listed_s = -OFFERS_S
        self._offers: list[Offer] = []
        self._why = ""
        self._open: dict[str, ChosenModel] = {}

    def offers(self) -> tuple[list[Offer], str]:
        """The models, read again now and then: a sweep may have ended."""
        with self._lock:
            if time.monotonic() - self._listed_s > OFFERS_S or not self._offers:
                self._offers, self._why = offers(self._settings.models, self._settings.tracking_uri)
                self._listed_s = time.monotonic()
            return self._offers, self._why

    def open(self, key: str) -> ChosenModel:
        """Open a model that is on offer; the last few stay open.

        Raises:
            InputError: it is not on offer, or cannot be read.
        """
        offer = next((offer for offer in self.offers()[0] if offer.key == key), None)
        if offer is None:
            raise InputError("a model must be one of those on the page, but this one is not; load the page again")
        with self._lock:
            if key not in self._open:
                settings = self._settings
                model = open_model(
                    str(offer.folder or offer.key),
                    tracking_uri=settings.tracking_uri,
                    runtime=settings.runtime,
                    precision=settings.precision,
                )
                while len(self._open) >= OPEN_MODELS:
                    del self._open[next(iter(self._open))]
                self._open[key] = model
            return self._open[key]


class Server:
    """All handlers, and what they share."""

    def __init__(self, settings: ServerSettings, models: Models, jobs: Jobs, examples: Examples) -> None:
        """Keep the parts."""
        self._settings, self._models, self._jobs, self._examples = settings, models, jobs, examples
        self._live = LiveSessions()

    def app(self) -> "Guarded":
        """The ASGI application."""
        job = "/api/jobs/{key}"
        routes = [
            *(Route(path, self._static) for path in FILES),
            Route("/api/state", self._state),
            Route("/api/jobs", self._upload, methods=["POST"]),
            Route("/api/examples/{example}", self._try, methods=["POST"]),
            Route("/api/examples/{example}/poster.jpg", self._poster),
            Route(job, self._drop, methods=["DELETE"]),
            Route(f"{job}/events", self._events),
            Route(f"{job}/video.mp4", self._video),
            Route(f"{job}/record.json", self._record),
            Route(f"{job}/faces/{{face:int}}.jpg", self._face),
            Route("/api/live", self._camera, methods=["POST"]),
        ]

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            reaper = asyncio.create_task(self._reap())
            yield
            reaper.cancel()

        return Guarded(Starlette(routes=routes, lifespan=lifespan), self._settings.host)

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            await run_in_threadpool(self._jobs.reap)

    async def _static(self, request: Request) -> Response:
        name, kind = FILES[request.url.path]
        return FileResponse(HERE / name, media_type=kind, headers={"cache-control": "no-cache"})

    async def _state(self, _: Request) -> Response:
        found, why = await run_in_threadpool(self._models.offers)
        models = [
            {"key": one.key, "name": one.name, "detail": one.detail, "group": one.group, "smoke": one.smoke}
            for one in found
        ]
        return JSONResponse(
            {
                "models": models,
                "why_no_runs": why,
                "train": TRAIN_FIRST,
                "max_minutes": self._settings.max_minutes,
                "max_mb": self._settings.max_mb,
                "authentic_below": AUTHENTIC_BELOW,
                "deepfake_above": DEEPFAKE_ABOVE,
                "colours": {word: "#{:02x}{:02x}{:02x}".format(*rgb) for word, rgb in COLOURS.items()},
                "examples": [{"key": one.key, "name": one.name} for one in self._examples.all],
            },
            headers={"cache-control": "no-store"},
        )

    async def _upload(self, request: Request) -> Response:
        limit = round(self._settings.max_mb * 1e6)
        said = request.headers.get("content-length", "")
        if said.isdigit() and int(said) > limit:
            return _error(413, self._too_large(int(said)))
        try:
            job = self._jobs.create(request.query_params.get("name", "video"), request.query_params.get("model", ""))
        except FullError as error:
            return _error(429, str(error))
        try:
            size = 0
            with job.source.open("wb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > limit:
                        await run_in_threadpool(self._jobs.drop, job)
                        return _error(413, self._too_large(size))
                    await run_in_threadpool(file.write, chunk)
        except (ClientDisconnect, asyncio.CancelledError):
            self._jobs.drop(job)  # the page was closed in the middle
            raise
        except OSError as error:
            self._jobs.drop(job)
            return _error(507, f"the upload cannot be kept on this machine ({error.strerror}); make room and try again")
        self._jobs.submit(job)
        return JSONResponse({"key": job.key})

    def _too_large(self, size: int) -> str:
        return (
            f"an upload may have at most {self._settings.max_mb:g} MB, but this one has {size / 1e6:.0f} or more; send "
            "a shorter piece, or start the demo with a larger --max-mb"
        )

    async def _try(self, request: Request) -> Response:
        example = self._examples.get(request.path_params["example"])
        if example is None:
            return _error(404, "there is no such example; load the page again")
        path = await run_in_threadpool(self._examples.file, example)
        try:
            job = self._jobs.create(example.name, request.query_params.get("model", ""))
        except FullError as error:
            return _error(429, str(error))
        job.source.symlink_to(path)
        self._jobs.submit(job)
        return JSONResponse({"key": job.key})

    async def _poster(self, request: Request) -> Response:
        example = self._examples.get(request.path_params["example"])
        poster = None if example is None else await run_in_threadpool(self._examples.poster, example)
        return _gone() if poster is None else FileResponse(poster, media_type="image/jpeg")

    async def _drop(self, request: Request) -> Response:
        job = self._jobs.get(request.path_params["key"])
        if job is not None:
            await run_in_threadpool(self._jobs.drop, job)
        return Response(status_code=204)

    async def _events(self, request: Request) -> Response:
        job = self._jobs.get(request.path_params["key"])
        if job is None:
            return _gone()
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._follow(job), media_type="text/event-stream", headers=headers)

    async def _follow(self, job: Job) -> AsyncIterator[str]:
        """Tell a page what becomes of its job, for as long as it listens: that it does keeps the job alive."""
        self._jobs.watch(job)
        told, told_s = "", 0.0
        try:
            while not job.stop.is_set():
                now = json.dumps(self._jobs.describe(job))
                if now != told:
                    yield f"data: {now}\n\n"
                    told, told_s = now, time.monotonic()
                elif time.monotonic() - told_s > QUIET_S:
                    yield ": still here\n\n"
                    told_s = time.monotonic()
                await asyncio.sleep(POLL_S)
        finally:
            self._jobs.unwatch(job)

    async def _video(self, request: Request) -> Response:
        return self._result(request, lambda job: job.marked, "video/mp4", "-marked.mp4")

    async def _record(self, request: Request) -> Response:
        return self._result(request, lambda job: job.record, "application/json", ".json")

    def _result(self, request: Request, file: Callable[[Job], Path], kind: str, ending: str) -> Response:
        job = self._jobs.get(request.path_params["key"])
        if job is None or job.state != DONE:
            return _gone()
        stem = Path(job.name).stem if Path(job.name).suffix else job.name
        saved = f"{stem}{ending}" if "download" in request.query_params else None
        return FileResponse(file(job), media_type=kind, filename=saved, headers={"cache-control": "no-store"})

    async def _face(self, request: Request) -> Response:
        job = self._jobs.get(request.path_params["key"])
        if job is None or job.state != DONE:
            return _gone()
        file = job.folder / f"face-{request.path_params['face']}.jpg"
        return FileResponse(file, media_type="image/jpeg") if file.is_file() else _gone()

    async def _camera(self, request: Request) -> Response:
        data = bytearray()
        async for chunk in request.stream():
            data += chunk
            if len(data) > LARGEST_BYTES:
                return _error(413, f"a picture may have at most {LARGEST_BYTES / 1e6:g} MB; send a smaller one")
        session, model = request.query_params.get("session", ""), request.query_params.get("model", "")

        def look() -> dict[str, Any]:
            return self._live.look(session[:64], model, self._models.open(model).watched, bytes(data))

        try:
            return JSONResponse(await run_in_threadpool(look), headers={"cache-control": "no-store"})
        except InputError as error:
            return _error(400, str(error))


class Guarded:
    """Refuses requests that another site makes a browser send, and adds the headers that keep the page alone."""

    def __init__(self, app: Starlette, host: str) -> None:
        """Wrap an application.

        Args:
            app: what answers.
            host: address that is listened on.
        """
        self._app, self._host = app, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if not may_ask(scope["method"], headers, self._host):
            await _error(403, "this demo answers its own page only; open the address that it printed")(
                scope, receive, send
            )
            return

        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                    (b"cross-origin-resource-policy", b"same-origin"),
                    (b"cross-origin-opener-policy", b"same-origin"),
                ]
            await send(message)

        await self._app(scope, receive, send_guarded)


def may_ask(method: str, headers: Mapping[str, str], host: str) -> bool:
    """Whether a request comes from the demo's own page.

    On loopback the Host header must name this machine (else a site whose name is made to point here could read
    everything); a request that changes something must come from the page that Host names.

    Args:
        method: of the request.
        headers: of the request, names in lower case.
        host: address that is listened on.
    """
    asked = urlsplit(f"//{headers['host']}") if "host" in headers else None
    if asked is None:
        return False
    if host in LOOPBACK and asked.hostname not in LOOPBACK:
        return False
    if method in ("GET", "HEAD"):
        return True
    if "sec-fetch-site" in headers and headers["sec-fetch-site"] not in ("same-origin", "none"):
        return False
    return "origin" not in headers or urlsplit(headers["origin"]).netloc == asked.netloc


def _error(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status_code=status)


def _gone() -> JSONResponse:
    return _error(404, "this is not here, or not any more: results are removed when their page is closed; start again")
