"""The limit on the file descriptors (files and sockets) of this process."""

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
    """The number of descriptors that this process may have open now."""
    if resource is None:
        return sys.maxsize
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def raise_descriptor_limit() -> None:
    """Raise the soft limit of this process to its hard limit. For programs, not for libraries.

    The soft limit is low, often 1,024, for programs that use select(2). No event loop of ours does.
    """
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:  # macOS reports a hard limit above what it allows.
        logger.info("at most %d descriptors may be open: %s", soft, error)
