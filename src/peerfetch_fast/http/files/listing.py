"""Listings of directories, for people (HTML) and for programs (JSON)."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from urllib.parse import quote_from_bytes

import orjson

from peerfetch_fast.http.files.conditions import file_time
from peerfetch_fast.http.files.tree import Node, Tree

__all__ = ["CONTENT_POLICY", "Entry", "as_html", "as_json", "prefers_json", "read_entries"]

MAX_ENTRIES = 10_000
"""Entries of a directory that are listed; the answer says so where there are more."""

_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}"
    "th,td{text-align:left;padding:.25rem .75rem .25rem 0;overflow-wrap:anywhere}"
    "td+td,th+th{white-space:nowrap}td:nth-child(2){font-variant-numeric:tabular-nums}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

CONTENT_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"
)
"""The Content-Security-Policy of :func:`as_html`: its own style, and nothing else."""


@dataclass(frozen=True)
class Entry:
    """A file or directory."""

    name: str
    """For people: octets that are no UTF-8 are replaced."""
    href: str
    """Relative to the directory, with a slash behind directories; names it exactly."""
    size: int | None
    """Bytes of a file, None for a directory."""
    modified: str
    """RFC 3339, in whole seconds of UTC."""


def read_entries(
    tree: Tree, segments: Sequence[bytes], directory: Node
) -> tuple[list[Entry], bool]:
    """The entries of ``directory``, those that are directories first, by name; and whether there
    are more than are listed. Raises OSError.
    """
    found = [
        _entry(name, status)
        for name, status in islice(tree.entries(segments, directory), MAX_ENTRIES + 1)
    ]
    listed = found[:MAX_ENTRIES]
    listed.sort(key=lambda entry: (entry.size is not None, entry.name.casefold(), entry.href))
    return listed, len(found) > len(listed)


def _entry(name: bytes, status: os.stat_result) -> Entry:
    is_directory = stat.S_ISDIR(status.st_mode)
    # The dot keeps a name with a colon from being taken for a scheme (RFC 3986 §4.2).
    href = f"./{quote_from_bytes(name, safe='')}{'/' if is_directory else ''}"
    modified = file_time(int(status.st_mtime)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Entry(
        name.decode(errors="replace"), href, None if is_directory else status.st_size, modified
    )


def prefers_json(accept: str) -> bool:
    """Whether an Accept field (RFC 9110 §12.5.1) would rather have JSON than HTML."""
    return _quality(accept, "application/json") > _quality(accept, "text/html")


def _quality(accept: str, media_type: str) -> float:
    kind = media_type.partition("/")[0]
    best = (-1, 0.0)  # how exactly the type is named, and its weight
    for element in accept.split(","):
        name, *parameters = (part.strip().lower() for part in element.split(";"))
        if name not in ("*/*", f"{kind}/*", media_type):
            continue
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        best = max(best, (("*/*", f"{kind}/*", media_type).index(name), weight))
    return best[1]


def as_json(path: str, entries: Sequence[Entry], more: bool, offers: Sequence[str] = ()) -> bytes:
    """``{"path", "entries": [{"name", "href", "type", "size", "modified"}], "more"}``, and
    ``"offers"`` where the directory has more than files.
    """
    also = {"offers": list(offers)} if offers else {}
    return orjson.dumps(
        {
            "path": path,
            "entries": [
                {
                    "name": entry.name,
                    "href": entry.href,
                    "type": "directory" if entry.size is None else "file",
                    "size": entry.size,
                    "modified": entry.modified,
                }
                for entry in entries
            ],
            "more": more,
            **also,
        }
    )


def as_html(path: str, entries: Sequence[Entry], more: bool, *, parent: bool) -> bytes:
    """A page without scripts. ``parent``: whether there is a directory above to link to."""
    from html import escape

    rows = [
        f'<tr><td><a href="{escape(entry.href)}">{escape(entry.name)}'
        f"{'/' if entry.size is None else ''}</a></td>"
        f"<td>{_size(entry.size)}</td>"
        f'<td><time datetime="{entry.modified}">{entry.modified[:16].replace("T", " ")}</time></td>'
        "</tr>\n"
        for entry in entries
    ]
    title = escape(f"Files in {path}")
    up = '<p><a href="../">Parent directory</a></p>\n' if parent else ""
    note = f"<p>Only {MAX_ENTRIES} of the entries are listed.</p>\n" if more else ""
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{title}</h1>\n{up}{note}<table>\n"
        '<thead><tr><th scope="col">Name</th><th scope="col">Size</th>'
        '<th scope="col">Modified (UTC)</th></tr></thead>\n'
        f"<tbody>\n{''.join(rows)}</tbody>\n</table>\n</main>\n</body>\n</html>\n"
    )
    return page.encode()


def _size(size: int | None) -> str:
    if size is None:
        return "directory"
    if size < 1000:
        return f"{size} B"
    scaled = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        scaled /= 1000
        if scaled < 999.5 or unit == "TB":
            break
    return f"{scaled:.3g} {unit}" if scaled < 999.5 else f"{scaled:.0f} {unit}"
