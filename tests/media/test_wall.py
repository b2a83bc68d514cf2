"""The page of several cameras."""

from __future__ import annotations

import re
from posixpath import dirname, normpath

import pytest

from peerfetch_fast.media.wall import CameraWall
from support import http_pair


async def test_the_page_and_what_it_shows() -> None:
    wall = CameraWall({"/garden": None, "/front%20door": None, "/c": "Cellar"})
    async with http_pair(wall) as pair:
        listing = await (await pair.fetch("/cameras.json")).json()
        assert listing == [
            {"name": "garden", "path": "./garden/"},
            {"name": "front door", "path": "./front%20door/"},
            {"name": "Cellar", "path": "./c/"},
        ]
        page = await pair.fetch("/")
        assert "page/wall.js" in await page.text()
        assert page.headers["link"].startswith('<cameras.json>; rel="describedby"')
        # What the page asks for, and what that asks for.
        waiting = {"page/wall.js", "page/theme.css", "page/camera.css"}
        asked: set[str] = set()
        while waiting:
            name = waiting.pop()
            asked.add(name)
            response = await pair.fetch(f"/{name}")
            assert response.status == 200, name
            imported = re.findall(r'^import .* from "(\..*)";$', await response.text(), re.M)
            waiting |= {normpath(f"{dirname(name)}/{path}") for path in imported} - asked
        assert "lib/media/whep.js" in asked
        assert (await pair.fetch("/", method="POST", body=b"x")).status == 405
        assert (await pair.fetch("/other")).status == 404


def test_a_path_that_is_none() -> None:
    with pytest.raises(ValueError, match="is no path"):
        CameraWall({"garden": None})
