"""What connections need of keys: a certificate of one's own, and X25519.

OpenSSL does it, or ``cryptography`` where there was no OpenSSL to build with.
"""

from __future__ import annotations

try:
    from peerfetch_fast._keys import check_certificate, make_certificate, x25519
except ImportError:
    from peerfetch_fast._portable_keys import check_certificate, make_certificate, x25519

__all__ = ["check_certificate", "make_certificate", "x25519"]
