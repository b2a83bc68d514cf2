"""How many files and sockets this process may have open at once."""

from __future__ import annotations

import logging
import sys

try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None  # type: ignore[assignment]

__all__ = ["descriptor_limit", "raise_descriptor_limit"]

logger = logging.getLogger(__name__)


def descriptor_limit() -> int:
    """Descriptors that this process may have open now."""
    if resource is None:
        return sys.maxsize
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def raise_descriptor_limit() -> None:
    """Let this process have as many as its system allows it; for programs, not for libraries.

    The limit that programs start with, often 1,024, is low for the sake of those who use select(2),
    which none of our event loops does.
    """
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:  # macOS allows less than it says
        logger.info("at most %d descriptors may be open: %s", soft, error)
