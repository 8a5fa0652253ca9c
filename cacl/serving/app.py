"""What is answered to the page: itself, searches, labels, duplicates, pictures and videos; all else is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from cacl.errors import UserError, printable
from cacl.exploring.labels import Labels, Stretch, classes_of
from cacl.indexing.generation import IndexedVideo
from cacl.indexing.words import duplicates_as_csv
from cacl.serving.answer import answer
from cacl.serving.classes import NONE, Taught
from cacl.serving.current import Current, StaleError, View
from cacl.serving.guard import Guard
from cacl.serving.map import Maps
from cacl.serving.media import Clips, begin_of, file_of, type_of
from cacl.serving.queries import LARGEST, Queries
from cacl.serving.stretches import stretch, stretches
from cacl.serving.tables import labelled, listed
from cacl.serving.twice import Twice

PAGE = Path(__file__).parent / "page"
_FOREVER = {"cache-control": "private, max-age=31536000, immutable"}  # of what a key and a state name
_MOST_TEXT = 1 << 20  # bytes of a request that is no file

Json = Callable[[Request, View], dict[str, Any]]


class Site:
    """All that is kept between requests."""

    def __init__(self, current: Current, labels: Labels, queries: Queries, *, local: bool) -> None:
        """``local``: whoever asks is on this machine, and may name files of it."""
        self.current, self.labels, self.queries, self.local = current, labels, queries, local
        self.twice, self.clips, self.maps = Twice(), Clips(), Maps()
        self.taught = Taught(classes_of(current.view().index.path), labels)

    def about(self, request: Request, view: View) -> dict[str, Any]:
        """What the page begins with."""
        index = view.index
        folders = {video.path.rpartition("/")[0] for video in index.videos} - {""}
        labels = {label for video in index.catalog.videos for label in video.labels}
        return {
            "index": str(index.path), "root": str(index.root), "videos": len(index.videos),
            "stretches": len(index.vectors), "local": self.local, "within": sorted(folders | labels)[:2000],
            "labels_file": str(self.labels.file),
        }  # fmt: skip

    def videos(self, request: Request, view: View) -> dict[str, Any]:
        """Videos of the index, by a part of their names."""
        return listed(view, request.query_params.get("name", ""), _whole(request, "k", 60))

    def things(self, request: Request, view: View) -> dict[str, Any]:
        """What keys stand for, in their order: videos of the index and files; null for one that is not here."""
        found: list[dict[str, Any] | None] = []
        for key in request.query_params.getlist("key")[:100]:
            try:
                found.append(self.queries.facts(key) if key.startswith("file-") else view.facts(view.video(key)))
            except UserError:
                found.append(None)
        return {"things": found}

    def search(self, request: Request, view: View) -> dict[str, Any]:
        """Hits."""
        asked = request.query_params
        return answer(
            view, self.queries, asked.getlist("like")[:100], asked.getlist("unlike")[:100], k=_whole(request, "k", 20),
            within=asked.get("within"), without=self._filtered(request, view), known=self.taught.told(view)[0],
        )  # fmt: skip

    def _filtered(self, request: Request, view: View) -> NDArray[np.int64] | None:
        """Rows that have another label or class than is asked for."""
        out = np.zeros(len(view.index.vectors), np.bool_)
        for by in ("label", "class"):
            wanted = request.query_params.get(by)
            if wanted:
                names, codes = self.taught.codes(view, by)
                out |= codes != names.index(wanted) if wanted in names else True
        return np.flatnonzero(out) if out.any() else None

    def kinds(self, request: Request, view: View) -> dict[str, Any]:
        """Labels and classes with how many stretches have them, in the order of their numbers on the map."""
        found: dict[str, Any] = {}
        for by in ("label", "class"):
            names, codes = self.taught.codes(view, by)
            counts = np.bincount(codes[codes != NONE], minlength=len(names)).tolist()
            found[by] = [{"name": name, "count": n} for name, n in zip(names, counts, strict=True)]
        return found

    def read_classes(self, request: Request, view: View) -> dict[str, Any]:
        """The classes, and whether they are being learnt."""
        return self.taught.report(view)

    def learn(self, sent: Mapping[str, Any], view: View) -> dict[str, Any]:
        """Begin to learn them from the labels."""
        self.taught.begin(view)
        return self.taught.report(view)

    def next(self, request: Request, view: View) -> dict[str, Any]:
        """What to label next."""
        known = self.taught.told(view)[0]
        found = self.taught.next(view)
        return {name: [stretch(view, row, known) for row in rows.tolist()] for name, rows in found.items()}

    def read_map(self, request: Request, view: View) -> dict[str, Any]:
        """How far the map is; begins it."""
        return self.maps.report(view)

    def points(self, request: Request, view: View) -> bytes:
        """Its points: float32, x and y after each other."""
        return self.maps.best(view).points.astype("<f4").tobytes()

    def colours(self, request: Request, view: View) -> bytes:
        """For each point the number of its label or class in ``kinds``: uint16, 65535 for none."""
        _, codes = self.taught.codes(view, request.query_params.get("by", "label"))
        return codes[:: self.maps.best(view).stride].astype("<u2").tobytes()

    def stretches(self, sent: Mapping[str, Any], view: View) -> dict[str, Any]:
        """Points of the map, as as few stretches as they make."""
        rows = np.asarray(sent["points"], np.int64) * self.maps.best(view).stride
        return {"stretches": stretches(view, rows.tolist(), self.taught.told(view)[0]), "of": len(rows)}

    def read_labels(self, request: Request, view: View) -> dict[str, Any]:
        """All labels."""
        return labelled(view, self.labels.read())

    def read_duplicates(self, request: Request, view: View) -> dict[str, Any]:
        """How far the look for duplicates is."""
        return self.twice.report(view)

    def look_for_duplicates(self, sent: Mapping[str, Any], view: View) -> dict[str, Any]:
        """Begin."""
        self.twice.begin(view)
        return self.twice.report(view)

    def decide(self, sent: Mapping[str, Any], view: View) -> dict[str, Any]:
        """Two videos are not the same, or that is taken back."""
        first, second = (view.video(str(sent.get(name))).path for name in ("a", "b"))
        decisions = view.index.decisions
        (decisions.reject if sent.get("not_same") else decisions.forget)(first, second)
        return self.twice.report(view)

    def label(self, sent: Mapping[str, Any], view: View) -> dict[str, Any]:
        """Give labels, in groups: ``{"groups": [{"label": …, "stretches": [{"key", "start", "end"}]}]}``."""
        before: dict[str | None, list[Any]] = {}
        for group in sent["groups"]:
            keys = {_stretch(view, one): one for one in group["stretches"]}
            had = self.labels.change(list(keys), None if group["label"] is None else str(group["label"]))
            for one, label in had.items():
                before.setdefault(label, []).append(keys[one])
        groups = [{"label": label, "stretches": stretches} for label, stretches in before.items()]
        return {"before": groups, **labelled(view, self.labels.read())}

    def path(self, sent: Mapping[str, Any], view: View) -> dict[str, Any]:
        """Ask with a file of this machine."""
        if not self.local:
            raise UserError("Paths are taken from this machine only: drop the file on the page.")
        path = Path(str(sent.get("path", "")).strip().strip("'\""))
        with suppress(RuntimeError):  # ~ of nobody
            path = path.expanduser()
        if not path.is_absolute() or not os.path.isfile(path):
            raise UserError(f"{printable(str(path))} is no file: give its whole path, from / on.")
        return self.queries.add(path, str(path), own=False)

    async def drop(self, request: Request) -> Response:
        """Ask with a file that is sent."""
        name = Path(request.query_params.get("name", "video")).name or "video"
        place = self.queries.new_place(name)
        try:
            await _receive(request, place)
            return answered(200, await run_in_threadpool(self.queries.add, place, name, own=True))
        except UserError as error:
            place.unlink(missing_ok=True)
            return answered(400, {"error": str(error)})
        except BaseException:
            place.unlink(missing_ok=True)
            raise

    def preview(self, request: Request) -> Response:
        """The moving picture of a stretch of a video."""
        view, number = self.current.view(), request.path_params["n"]
        video = view.video(request.path_params["key"])
        picture = view.index.preview(video.first_row + number) if number < video.rows else None
        if picture is None:
            return Response(status_code=404)
        kept = _FOREVER if request.query_params.get("state") == view.state else None
        return Response(picture, media_type="image/webp", headers=kept)

    def video(self, request: Request) -> Response:
        """A video's file, or the part of it that a browser asks for; or a dropped file."""
        view, key = self.current.view(), request.path_params["key"]
        dropped = key.startswith("file-")
        path = self.queries.file(key).path if dropped else file_of(view, view.video(key))
        return FileResponse(path, media_type=type_of(path), headers={"cache-control": "no-cache"})

    async def clip(self, request: Request) -> Response:
        """A part of a video that the browser cannot play, encoded anew: from ``start`` (seconds) or stretch ``n``."""
        try:
            view, video, start = await run_in_threadpool(self._asked_part, request)
        except ValueError as error:
            return answered(404, {"error": str(error)})
        made = await self.clips.clip(view, video, start, gone=request.is_disconnected)
        return Response(status_code=503) if made is None else Response(made, media_type="video/mp4")

    def _asked_part(self, request: Request) -> tuple[View, IndexedVideo, float]:
        view, asked = self.current.view(), request.query_params
        video = view.video(request.path_params["key"])
        return view, video, begin_of(view, video, int(asked["n"])) if "n" in asked else float(asked.get("start", "0"))

    def duplicates_table(self, request: Request) -> Response:
        """The table of duplicates, as ``cacl duplicates --csv`` prints it."""
        table = duplicates_as_csv(self.twice.found(self.current.view())).encode("utf-8", "surrogateescape")
        headers = {"content-disposition": 'attachment; filename="duplicates.csv"'}
        return Response(table, media_type="text/csv; charset=utf-8", headers=headers)


def make_app(site: Site, *, token: str | None) -> Starlette:
    """The application.

    Args:
        site: what it shows.
        token: that has to be known; ``None``: only names of this machine are answered.
    """
    pages = Environment(loader=PackageLoader("cacl.serving", "page"), autoescape=True)

    def page(request: Request) -> Response:
        view = site.current.view()
        shown = {"name": printable(view.index.path.name), "state": view.state}
        return HTMLResponse(pages.get_template("index.html").render(shown))

    def get(path: str, asked: Json) -> Route:
        def reply(request: Request) -> Response:
            return _reply(site, request.query_params.get("state"), lambda view: asked(request, view))

        return Route(path, reply, methods=["GET"])

    def data(path: str, asked: Callable[[Request, View], bytes]) -> Route:
        def reply(request: Request) -> Response:
            return _reply(site, request.query_params.get("state"), lambda view: asked(request, view))

        return Route(path, reply, methods=["GET"])

    def post(path: str, asked: Callable[[Mapping[str, Any], View], dict[str, Any]]) -> Route:
        return Route(path, _posted(site, asked), methods=["POST"])

    routes = [
        Route("/", page),
        Mount("/static", StaticFiles(directory=PAGE)),
        get("/api/about", site.about), get("/api/videos", site.videos), get("/api/things", site.things),
        get("/api/search", site.search), get("/api/labels", site.read_labels), post("/api/labels", site.label),
        get("/api/duplicates", site.read_duplicates), post("/api/duplicates", site.look_for_duplicates),
        post("/api/decisions", site.decide), post("/api/path", site.path),
        get("/api/kinds", site.kinds), get("/api/classes", site.read_classes), post("/api/classes", site.learn),
        get("/api/next", site.next), get("/api/map", site.read_map), post("/api/stretches", site.stretches),
        data("/map/points", site.points), data("/map/colours", site.colours),
        Route("/api/drop", site.drop, methods=["POST"]),
        Route("/duplicates.csv", site.duplicates_table),
        Route("/preview/{key}/{n:int}", site.preview),
        Route("/video/{key}", site.video),
        Route("/clip/{key}", site.clip),
    ]  # fmt: skip
    handlers = {UserError: _not_there, ClientDisconnect: _nobody_there}
    return Starlette(routes=routes, middleware=[Middleware(Guard, token=token)], exception_handlers=handlers)


def _not_there(request: Request, error: Exception) -> Response:
    return answered(404, {"error": printable(str(error))})


def _nobody_there(request: Request, error: Exception) -> Response:
    """Whoever sent something broke off; nobody reads this."""
    return Response(status_code=400)


def answered(status: int, content: Mapping[str, Any]) -> Response:
    """JSON in ASCII: names that are no text get through, too."""
    return Response(json.dumps(content, allow_nan=False), status, media_type="application/json")


def _posted(
    site: Site, asked: Callable[[Mapping[str, Any], View], dict[str, Any]]
) -> Callable[[Request], Awaitable[Response]]:
    async def reply(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _MOST_TEXT:
                return answered(413, {"error": "That is too much at once."})
        try:
            sent = json.loads(body or b"{}")
            if not isinstance(sent, dict):
                raise ValueError
        except (ValueError, RecursionError):
            return answered(400, {"error": "What was sent is no JSON object."})
        return await run_in_threadpool(_reply, site, request.query_params.get("state"), lambda view: asked(sent, view))

    return reply


def _reply(site: Site, state: str | None, asked: Callable[[View], dict[str, Any] | bytes]) -> Response:
    try:
        view = site.current.view(state)
        found = asked(view)
        if isinstance(found, bytes):
            return Response(found, media_type="application/octet-stream")
        return answered(200, {"state": view.state, **found})
    except StaleError:
        return answered(409, {"error": "The index has changed since this page was opened: reload it."})
    except UserError as error:
        return answered(400, {"error": printable(str(error))})
    except (KeyError, TypeError, ValueError, OverflowError):
        return answered(400, {"error": "The page asked for something that makes no sense: reload it."})


async def _receive(request: Request, place: Path) -> None:
    size = 0
    try:
        with place.open("wb") as file:
            async for part in request.stream():
                size += len(part)
                if size > LARGEST:
                    raise UserError(f"The file is larger than {LARGEST >> 30} GiB: give its path instead.")
                file.write(part)
    except OSError as error:
        raise UserError(f"The file could not be kept ({error.strerror or error}): give its path instead.") from error


def _stretch(view: View, sent: Mapping[str, Any]) -> Stretch:
    times = [None if sent[name] is None else round(float(sent[name]), 3) for name in ("start", "end")]
    return Stretch(view.video(str(sent["key"])).path, *times)


def _whole(request: Request, name: str, default: int) -> int:
    return min(max(int(request.query_params.get(name, default)), 1), 1000)
