"""The pages of cameras, which the device itself serves: any browser that reaches it has it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

__all__ = ["PAGE_FILES", "WALL_FILES", "PageFile"]

# Scripts and styles of the camera's own, and nothing of anybody else. Other handlers of the device
# are of the same origin: what they serve is no danger to a page that has no secrets.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)


# By these peerfetch's own page knows that a path is a camera's, or a wall's (docs/cameras.md).
_CAMERA_LINK = ("link", '<info>; rel="describedby"; type="application/json"')
_WALL_LINK = ("link", '<cameras.json>; rel="describedby"; type="application/json"')

_TYPES = {"html": "text/html; charset=utf-8", "css": "text/css", "js": "text/javascript"}


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page, and the header fields that it is sent with."""

    headers: tuple[tuple[str, str], ...]
    body: bytes


def _read(path: str, *more: tuple[str, str]) -> PageFile:
    body = files("peerfetch_fast.web").joinpath(*path.split("/")).read_bytes()
    headers = (
        ("content-type", _TYPES[path.rpartition(".")[2]]),
        ("content-security-policy", _POLICY),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-cache"),
        # Where offers are posted, for programs that want the stream and no page.
        ("peerfetch-media", "live"),
    )
    return PageFile((*headers, *more), body)


_LIVE = (
    *("cutting", "frames_player", "gaps", "jpeg_player", "live", "mp4_player", "rtp_player"),
    *("sound", "waiting", "whep"),
)

_SHARED = {
    f"/{path}": _read(path)
    for path in (
        *("page/theme.css", "page/camera.css", "page/elements.js", "page/format.js"),
        *(f"lib/media/{name}.js" for name in _LIVE),
    )
}

PAGE_FILES = _SHARED | {
    "/": _read("page/camera.html", _CAMERA_LINK),
    **{
        f"/{path}": _read(path)
        for path in (
            *("page/awake.js", "page/camera.js", "page/camera_panel.js", "page/own_media.js"),
            *("page/sending_panel.js", "lib/media/publisher.js", "lib/media/recording.js"),
            *("page/pictures.js", "lib/media/sound_worklet.js"),
        )
    },
}
"""The page of one camera, by the path below the camera's. Files lie there as in the package: their
imports are relative."""

WALL_FILES = _SHARED | {
    "/": _read("page/wall.html", _WALL_LINK),
    **{f"/{path}": _read(path) for path in ("page/wall.js", "page/tiles.js")},
}
"""The page of several."""
