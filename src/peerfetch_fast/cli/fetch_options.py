"""The options of ``peerfetch fetch``, in groups: curl's names, where it has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from peerfetch_fast.cli.options import F

__all__ = ["answer_options", "request_options", "trying_options"]


class _OutputFile(click.Path):
    """A file to write. Refuses a name that ends with a slash, which Path would drop."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and value.endswith("/"):
            self.fail(f"{value!r} is a directory: name a file in it", param, ctx)
        return super().convert(value, param, ctx)


_SECONDS = click.FloatRange(0, min_open=True)

_REQUEST = (
    click.option(
        "-X",
        "--request",
        "method",
        metavar="METHOD",
        help="Method. Default: GET, HEAD with -I, POST with -d, -F or --json, PUT with -T.",
    ),
    click.option(
        "-H",
        "--header",
        "headers",
        multiple=True,
        metavar="'NAME: VALUE'",
        help="A header field. May be given several times.",
    ),
    click.option(
        "-d",
        "--data",
        multiple=True,
        metavar="DATA|@FILE",
        help="Body; @FILE streams a file as it is, @- stdin. Several are joined with &.",
    ),
    click.option(
        "--json",
        multiple=True,
        metavar="DATA|@FILE",
        help="Body, with Content-Type and Accept of application/json. Several are put in a row.",
    ),
    click.option(
        "-F",
        "--form",
        multiple=True,
        metavar="NAME=TEXT|@FILE|<FILE",
        help="A field of a form (multipart/form-data), with ;type=… and ;filename=… if need be. "
        "May be given several times.",
    ),
    click.option(
        "-T",
        "--upload-file",
        "upload",
        metavar="FILE",
        help="Upload a file, or - for stdin; its name is added to a URL that ends with /.",
    ),
    click.option(
        "-u",
        "--user",
        metavar="USER[:PASSWORD]",
        help="Log in at the server behind the peer (Basic); a password that is not given is asked "
        "for. On the command line, other users of this machine can see it.",
    ),
    click.option(
        "-b",
        "--cookie",
        metavar="'NAME=VALUE; …'|FILE",
        help="Cookies to send, or the file that they are in (Netscape's format, as of -c).",
    ),
    click.option(
        "-c",
        "--cookie-jar",
        type=_OutputFile(dir_okay=False, allow_dash=True, path_type=Path),
        metavar="FILE",
        help="Save all cookies here in the end; - for standard output.",
    ),
    click.option(
        "-r", "--range", metavar="RANGE", help="Only these bytes: 0-99, 100-, -500 (the last)."
    ),
    click.option("-L", "--location", is_flag=True, help="Follow redirects on this peer."),
    click.option("--compressed", is_flag=True, help="Ask for a compressed answer, and decode it."),
)

_ANSWER = (
    click.option(
        "-o",
        "--output",
        type=_OutputFile(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Save the body here. It is in FILE.part until it is whole; when the connection "
        "breaks, it is gone on with where the server names a version (ETag, Last-Modified).",
    ),
    click.option(
        "-O", "--remote-name", is_flag=True, help="Save the body under the name in the URL."
    ),
    click.option(
        "-C",
        "--continue-at",
        "continue_at",
        type=click.Choice(["-"]),
        metavar="-",
        help="Go on with the FILE.part that an earlier command left.",
    ),
    click.option("-i", "--include", is_flag=True, help="Print status and headers before the body."),
    click.option("-I", "--head", is_flag=True, help="Ask for the headers alone, and print them."),
    click.option(
        "-f", "--fail", is_flag=True, help="Exit with 22, without a body, at status 400 or above."
    ),
    click.option("-s", "--silent", is_flag=True, help="No progress, no messages, no errors."),
    click.option("-S", "--show-error", is_flag=True, help="With -s, tell errors all the same."),
    click.option(
        "-v", "--verbose", is_flag=True, help="Tell on standard error what is sent and answered."
    ),
    click.option(
        "-w",
        "--write-out",
        metavar="FORMAT|@FILE",
        help="Print this in the end, with curl's variables: %{http_code}, %{size_download}, "
        "%{time_total}, %{url_effective}, %{content_type}, %header{NAME}, %{header_json}, %{json} "
        "and others.",
    ),
)

_TRYING = (
    click.option(
        "--timeout",
        type=_SECONDS,
        metavar="SECONDS",
        help="For the head, and between pieces.",
    ),
    click.option(
        "-m",
        "--max-time",
        type=_SECONDS,
        metavar="SECONDS",
        help="For all of it; with --retry, for each attempt.",
    ),
    click.option(
        "--retry",
        type=click.IntRange(min=0),
        default=0,
        metavar="TIMES",
        help="Try again after a timeout, without a connection, and at status 408, 429, 500, 502, "
        "503 and 504: after 1 s, 2 s, 4 s and so on, or when Retry-After says.",
    ),
    click.option(
        "--retry-max-time",
        type=click.FloatRange(0),
        default=120.0,
        show_default=True,
        metavar="SECONDS",
        help="How long a device that was lost is looked for; if given, how long --retry goes on.",
    ),
)


def _with(options: tuple[Any, ...], command: F) -> F:
    for option in reversed(options):
        command = option(command)
    return command


def request_options(command: F) -> F:
    """Options for the request."""
    return _with(_REQUEST, command)


def answer_options(command: F) -> F:
    """Options for the output of the answer."""
    return _with(_ANSWER, command)


def trying_options(command: F) -> F:
    """Options for timeouts and retries."""
    return _with(_TRYING, command)
