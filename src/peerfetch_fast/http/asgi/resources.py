"""Resources of ours, such as a camera, below a path of an application: it hands requests to them.

The application answers with one event that ``scope["extensions"]`` offers,
``{"type": "peerfetch.resources", "resources": …, "path": …}``: ``path`` is the end of the request's
raw path that is theirs.
"""

from __future__ import annotations

from peerfetch_fast.http.asgi.types import Application, Receive, Scope, Send
from peerfetch_fast.http.routing import Resources

__all__ = ["RESOURCES", "application_of"]

RESOURCES = "peerfetch.resources"
"""The type of the event, and the name of the extension."""

_TEXT = (b"content-type", b"text/plain; charset=utf-8")


def application_of(resources: Resources) -> Application:
    """An application that hands all requests on to ``resources``."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            raise ValueError(f"{resources} answer requests, and know nothing of {scope['type']}")
        # The application that mounts this has put the path before it into root_path, decoded.
        above = len(scope["root_path"].strip("/").split("/")) if scope["root_path"] else 0
        names = scope["raw_path"].decode("ascii").split("/")[1:]
        if len(names) <= above:
            location = f"./{names[-1]}/".encode("ascii")
            await _respond(send, 308, (b"location", location))
        elif RESOURCES not in scope["extensions"]:
            sentence = f"{resources} can be had from a server of peerfetch alone.\n"
            await _respond(send, 501, _TEXT, sentence.encode())
        else:
            path = f"/{'/'.join(names[above:])}"
            await send({"type": RESOURCES, "resources": resources, "path": path})

    return application


async def _respond(send: Send, status: int, header: tuple[bytes, bytes], body: bytes = b"") -> None:
    await send({"type": "http.response.start", "status": status, "headers": [header]})
    await send({"type": "http.response.body", "body": body})
