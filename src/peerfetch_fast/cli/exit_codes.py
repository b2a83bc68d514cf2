"""The exit codes of all commands: curl's numbers, where it has one for the case."""

from __future__ import annotations

import click

from peerfetch_fast.cli import INTERRUPTED
from peerfetch_fast.errors import (
    AccessDenied,
    ConnectError,
    FetchTimeout,
    IdentityChanged,
    IdTaken,
    InvalidAccessToken,
    InvalidCode,
    InvalidIceServer,
    InvalidPin,
    InvalidRequest,
    MessageError,
    MessageTruncated,
    PeerUnavailable,
    RedirectError,
    SessionEnded,
    SignalingError,
    StreamError,
    StreamReset,
)

__all__ = ["MEANINGS", "Failure", "exit_code", "help_of", "sentence"]

MEANINGS = {
    0: "done; proxy, forward, signal and rendezvous: ended by Ctrl-C or SIGTERM",
    1: "it failed in a way that has no number here, such as a port that another program has",
    2: "wrong usage: an option, argument or file that says what cannot be",
    6: "no such peer, or no signaling server",
    7: "no connection to the peer",
    18: "the answer was cut short",
    22: "status 400 or above, with -f",
    23: "the output cannot be written",
    26: "what was to be sent cannot be read",
    28: "the time was up",
    33: "a download cannot be gone on with",
    47: "redirects that lead nowhere",
    56: "the connection broke",
    60: "the peer has another certificate than is known",
    67: "the access token or the code is not the same",
    INTERRUPTED: "interrupted by Ctrl-C",
}
"""The table, for docs/cli.md and ``--help``."""

# The first class that matches counts. Exceptions of the commands have an exit_code of their own.
_OF_ERRORS: tuple[tuple[type[Exception], int], ...] = (
    (InvalidRequest, 2),
    (InvalidPin, 2),
    (InvalidIceServer, 2),
    (InvalidAccessToken, 2),
    (InvalidCode, 2),
    (AccessDenied, 67),
    (IdentityChanged, 60),
    (PeerUnavailable, 6),
    (IdTaken, 1),
    (SignalingError, 6),
    (ConnectError, 7),
    (FetchTimeout, 28),
    (MessageTruncated, 18),
    (StreamReset, 18),
    (RedirectError, 47),
    (SessionEnded, 56),
    (StreamError, 56),
    (MessageError, 56),
)


def help_of(*codes: int) -> str:
    """The sentence about exit codes in the help of a command."""
    told = "; ".join(f"{code}: {MEANINGS[code].partition(';')[0]}" for code in codes)
    return f"Exit codes: {told}."


def exit_code(error: Exception) -> int:
    """The exit code of a command that ``error`` has ended."""
    own = getattr(error, "exit_code", None)
    if isinstance(own, int):
        return own
    return next((code for kind, code in _OF_ERRORS if isinstance(error, kind)), 1)


def sentence(error: Exception) -> str:
    """The message of ``error`` for the user; for an error of the system, without its number."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"


class Failure(click.ClickException):
    """Ends a command with the message of an error and its exit code."""

    def __init__(self, error: Exception, text: str | None = None) -> None:
        super().__init__(sentence(error) if text is None else text)
        self.exit_code = exit_code(error)  # type: ignore[misc]
