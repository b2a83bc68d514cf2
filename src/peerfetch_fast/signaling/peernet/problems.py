"""Why a request was refused, in the words of AIP-193."""

from __future__ import annotations

from enum import Enum

__all__ = ["Problem", "Status"]


MAX_MESSAGE = 512
"""Characters of the longest sentence: it may repeat what the request said."""


class Status(Enum):
    """A canonical status and its HTTP code."""

    INVALID_ARGUMENT = 400
    UNAUTHENTICATED = 401
    PERMISSION_DENIED = 403
    NOT_FOUND = 404
    METHOD_NOT_ALLOWED = 405
    NOT_ACCEPTABLE = 406
    ALREADY_EXISTS = 409
    TOO_LARGE = 413
    UNSUPPORTED_MEDIA_TYPE = 415
    RESOURCE_EXHAUSTED = 429
    INTERNAL = 500
    UNAVAILABLE = 503


class Problem(Exception):
    """A request is refused.

    :ivar status: the kind of refusal.
    :ivar retry_after: seconds after which the request may succeed; None if that is not known.
    """

    def __init__(self, status: Status, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message[:MAX_MESSAGE])
        self.status = status
        self.retry_after = retry_after
