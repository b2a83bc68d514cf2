"""``peerfetch fetch``: fetch from a peer, with curl's options."""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from peerfetch_fast.cli import INTERRUPTED
from peerfetch_fast.cli.cookies import Cookies, load_cookies
from peerfetch_fast.cli.download import NotSaved
from peerfetch_fast.cli.exit_codes import exit_code, help_of, sentence
from peerfetch_fast.cli.fetch_options import answer_options, request_options, trying_options
from peerfetch_fast.cli.loop import run
from peerfetch_fast.cli.options import given, log_level_option
from peerfetch_fast.cli.reaching import connecting, explained, reaching_options
from peerfetch_fast.cli.request_body import Part, Unreadable, parts_of_data
from peerfetch_fast.cli.transfer import NotWritten, Order, Transfer
from peerfetch_fast.cli.write_out import Report, template_of, write_out
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.identity import PeerUrl, parse_peer_url
from peerfetch_fast.signaling.peerjs.messages import is_peer_id

__all__ = ["fetch"]

_BODIES = {"data": "-d", "json": "--json", "form": "-F", "upload": "-T", "head": "-I"}
"""Options that give a request its body, and exclude each other."""

_REACHING = (
    "signaling",
    "pin",
    "access_token",
    "ice_servers",
    "direct_only",
    "map_ports",
    "transport",
    "congestion",
)


@click.command(epilog=help_of(0, 2, 6, 7, 18, 22, 23, 26, 28, 33, 47, 56, 60, 67, INTERRUPTED))
@click.argument("url", metavar="peer://PEER-ID/PATH[#PIN]")
@request_options
@answer_options
@trying_options
@reaching_options
@log_level_option
def fetch(url: str, **options: Any) -> None:
    """Fetch from a peer.

    In place of its id there may be the name that peerfetch pair gave it.
    """
    address = _split_url(url)
    _check(options)
    template = None if options["write_out"] is None else template_of(options["write_out"])
    quiet = options["silent"] and not options["show_error"]
    report, error = Report(url), ""
    transfer = None
    try:
        transfer = Transfer(_order(url, address, options))
        reach = connecting(
            address,
            give_up_after=options["retry_max_time"],
            **{name: options[name] for name in _REACHING},
        )
        run(transfer.run(reach))
    except KeyboardInterrupt:
        report.exit_code, error = INTERRUPTED, "interrupted"
        if options["output"] is None:
            error += ": with -o FILE, what came would be kept, and -C - goes on with it"
    except (PeerfetchError, NotSaved, OSError) as failure:
        report.exit_code, error = exit_code(failure), explained(failure, address.peer_id)
    if error and not quiet:
        click.echo(f"peerfetch: {error}", err=True)
    if transfer is not None:
        transfer.report.exit_code, report = report.exit_code, transfer.report
        _save_cookies(transfer.cookies, options["cookie_jar"], quiet)
    report.error = error or None
    if template is not None:
        write_out(template, report)
    sys.exit(report.exit_code)


def _check(options: dict[str, Any]) -> None:
    """Raises click.UsageError for options that do not go together."""
    if options["output"] is not None and options["remote_name"]:
        raise click.UsageError("-o and -O name two files: give one of them")
    if options["continue_at"] is not None:
        if options["output"] is None and not options["remote_name"]:
            raise click.UsageError("-C - goes on with a file: name it with -o")
        if options["range"] is not None:
            raise click.UsageError("-C - asks for a range of its own: leave -r out")
    bodies = [option for name, option in _BODIES.items() if options[name] not in (None, (), False)]
    if len(bodies) > 1:
        raise click.UsageError(f"{bodies[0]} and {bodies[1]} are two bodies: give one of them")


def _split_url(url: str) -> PeerUrl:
    parts = parse_peer_url(url)
    if not url.startswith("peer://") or not is_peer_id(parts.peer_id):
        raise click.UsageError(f"{url!r} is no peer URL: write peer://PEER-ID/path")
    return parts


def _order(url: str, address: PeerUrl, options: dict[str, Any]) -> Order:
    """The order that the command line gives. Raises Unreadable, NotWritten, InvalidRequest and
    UsageError.
    """
    headers = [_header(line) for line in options["headers"]]
    method, target, upload = options["method"], address.target, options["upload"]
    if options["head"]:
        method = method or "HEAD"
    if upload is not None:
        method = method or "PUT"
        if target.endswith("/") and upload != "-":
            target += quote(Path(upload).name)
    parts, fields = _body(options)
    said = {name.lower() for name, _ in headers}
    fields = [*_login(options["user"]), *_range(options["range"]), *fields]
    headers += [(name, value) for name, value in fields if name not in said]
    cookies, cookie_text = _cookies(options["cookie"], options["cookie_jar"])
    if options["remote_name"]:
        options["output"] = _remote_name(target)
    return Order(
        url=url,
        target=target,
        method=method,
        headers=headers,
        parts=parts,
        cookies=cookies,
        cookie_text=cookie_text,
        follow=options["location"],
        compressed=options["compressed"],
        timeout=options["timeout"],
        show_upload=upload is not None,
        output=options["output"],
        go_on=options["continue_at"] is not None,
        include=options["include"] or options["head"],
        head_only=options["head"],
        fail=options["fail"],
        patience=options["retry_max_time"],
        max_time=options["max_time"],
        retry=options["retry"],
        retry_max_time=options["retry_max_time"] if given("retry_max_time") else None,
        verbose=options["verbose"],
        quiet=options["silent"],
    )


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"{line!r} is no header: write 'Name: value'")
    return name.strip(), value.strip()


def _body(options: dict[str, Any]) -> tuple[list[Part] | None, list[tuple[str, str]]]:
    """The body, and its header fields, which the user's own override."""
    if options["data"]:
        kind = "application/x-www-form-urlencoded"
        return parts_of_data(options["data"], b"&"), [("content-type", kind)]
    if options["json"]:
        fields = [("content-type", "application/json"), ("accept", "application/json")]
        return parts_of_data(options["json"], b""), fields
    if options["form"]:
        from peerfetch_fast.cli.multipart import make_form

        parts, kind = make_form(options["form"])
        return parts, [("content-type", kind)]
    if options["upload"] is not None:
        return [Path(options["upload"])], []
    return None, []


def _login(user: str | None) -> Iterator[tuple[str, str]]:
    """The value of Authorization for HTTP Basic (RFC 7617)."""
    if user is not None:
        if ":" not in user:
            password = click.prompt(
                f"Password of {user}", default="", hide_input=True, show_default=False, err=True
            )
            user = f"{user}:{password}"
        yield "authorization", f"Basic {base64.b64encode(user.encode()).decode()}"


def _range(given_range: str | None) -> Iterator[tuple[str, str]]:
    if given_range is not None:
        # As in curl, "5" means "5-".
        yield "range", f"bytes={given_range}" + ("" if "-" in given_range else "-")


def _cookies(text: str | None, jar: Path | None) -> tuple[Cookies | None, str]:
    """The saved cookies, and those of the command line. Raises Unreadable."""
    if text is not None and "=" in text:
        return None if jar is None else Cookies(), text
    if text is None and jar is None:
        return None, ""
    try:
        return load_cookies(Path(text), time.time()) if text else Cookies(), ""
    except OSError as error:
        raise Unreadable(f"cannot read {text}: {error.strerror}") from None


def _save_cookies(cookies: Cookies | None, jar: Path | None, quiet: bool) -> None:
    if cookies is None or jar is None:
        return
    content = cookies.file(time.time()).encode("utf-8", "surrogateescape")
    if jar == Path("-"):
        click.echo(content, nl=False)
        return
    from peerfetch_fast.state import write_whole

    try:
        write_whole(jar, content)
    except OSError as error:
        if not quiet:
            click.echo(f"peerfetch: cookies cannot be saved: {sentence(error)}", err=True)


def _remote_name(target: str) -> Path:
    name = target.partition("?")[0].rpartition("/")[2]
    if name in ("", ".", ".."):
        raise NotWritten("the URL ends with no name for -O: name the file with -o")
    return Path(name)
