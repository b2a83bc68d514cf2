"""The output of ``-w``: a template with curl's variables."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from peerfetch_fast._version import __version__
from peerfetch_fast.http.client import Response

__all__ = ["Report", "head_of", "template_of", "write_out"]


@dataclass(slots=True)
class Report:
    """How a transfer went; times are in seconds since it began."""

    url: str
    method: str = "GET"
    began: float = field(default_factory=time.monotonic)
    connected: float = 0.0
    redirected: float = 0.0
    first_byte: float = 0.0
    total: float = 0.0
    connects: int = 0
    redirects: int = 0
    redirect_url: str | None = None
    """The target of a redirect that was not followed."""
    url_effective: str | None = None
    response: Response | None = None
    """The last answer."""
    size_header: int = 0
    size_download: int = 0
    size_upload: int = 0
    filename: str | None = None
    exit_code: int = 0
    error: str | None = None

    def since(self) -> float:
        """Seconds since the transfer began."""
        return time.monotonic() - self.began


def head_of(response: Response) -> bytes:
    """Status and header fields, as lines."""
    lines = [f"HTTP/2 {response.status}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")


def _status(report: Report) -> int:
    return 0 if report.response is None else report.response.status


def _header(report: Report, name: str) -> str | None:
    if report.response is None:
        return None
    found: str | None = report.response.headers.get(name)
    return found


def _speed(size: int, report: Report) -> int:
    return int(size / report.total) if report.total > 0 else size


_VARIABLES: dict[str, Callable[[Report], Any]] = {
    "content_type": lambda report: _header(report, "content-type"),
    "errormsg": lambda report: report.error,
    "exitcode": lambda report: report.exit_code,
    "filename_effective": lambda report: report.filename,
    "http_code": _status,
    "http_version": lambda report: "0" if report.response is None else "2",
    "method": lambda report: report.method,
    "num_connects": lambda report: report.connects,
    "num_headers": lambda r: 0 if r.response is None else len(r.response.headers),
    "num_redirects": lambda report: report.redirects,
    "redirect_url": lambda report: report.redirect_url,
    "response_code": _status,
    "scheme": lambda report: "peer",
    "size_download": lambda report: report.size_download,
    "size_header": lambda report: report.size_header,
    "size_upload": lambda report: report.size_upload,
    "speed_download": lambda report: _speed(report.size_download, report),
    "speed_upload": lambda report: _speed(report.size_upload, report),
    "time_appconnect": lambda report: report.connected,
    "time_connect": lambda report: report.connected,
    "time_pretransfer": lambda report: report.connected,
    "time_redirect": lambda report: report.redirected,
    "time_starttransfer": lambda report: report.first_byte,
    "time_total": lambda report: report.total,
    "url": lambda report: report.url,
    "url_effective": lambda report: report.url_effective or report.url,
}
_CODES = ("http_code", "response_code")

_TOKEN = re.compile(r"%header\{([^}]*)\}|%\{([^}]*)\}|%%|\\([nrt])|[^%\\]+|.", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def template_of(text: str) -> str:
    """The template of ``-w``: its value, or the content of ``@FILE`` or, for ``@-``, of standard
    input, without line ends. Raises click.UsageError for a file that cannot be read.
    """
    if not text.startswith("@"):
        return text
    try:
        if text == "@-":
            return _joined(sys.stdin.read())
        return _joined(Path(text[1:]).read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError as error:
        raise click.UsageError(f"cannot read {text[1:]}: {error.strerror}") from None


def _joined(lines: str) -> str:
    return lines.replace("\r", "").replace("\n", "")


def write_out(template: str, report: Report) -> None:
    """Print ``template`` with the variables filled in: to standard output, after ``%{stderr}`` to
    standard error, and no further than ``%{onerror}`` where all went well.
    """
    to_stderr = False
    for token in _TOKEN.finditer(template):
        header, variable, escape = token.groups()
        if header is not None:
            text = _header(report, header) or ""
        elif escape is not None:
            text = _ESCAPES[escape]
        elif variable is None:
            text = "%" if token[0] == "%%" else token[0]
        elif variable in ("stdout", "stderr"):
            to_stderr = variable == "stderr"
            continue
        elif variable == "onerror":
            if not report.exit_code:
                break
            continue
        else:
            told = _told(variable, report)
            if told is None:
                click.echo(f"peerfetch: unknown --write-out variable: '{variable}'", err=True)
                continue
            text = told
        octets = text.encode("utf-8", "surrogateescape") if variable is None else text.encode()
        click.echo(octets, nl=False, err=to_stderr)


def _told(variable: str, report: Report) -> str | None:
    """The value of a variable, in curl's form; None for an unknown variable."""
    if variable == "header_json":
        fields: dict[str, list[str]] = {}
        for name, value in [] if report.response is None else report.response.headers.items():
            fields.setdefault(name.lower(), []).append(value)
        return json.dumps(fields, indent=0, separators=(",", ":")) + "\n"
    if variable == "json":
        values = {name: value(report) for name, value in _VARIABLES.items()}
        return json.dumps(values | {"curl_version": f"peerfetch/{__version__}"})
    if variable not in _VARIABLES:
        return None
    value = _VARIABLES[variable](report)
    if variable in _CODES:
        return f"{value:03d}"
    if isinstance(value, float):
        return f"{value:.6f}"
    return "" if value is None else str(value)
