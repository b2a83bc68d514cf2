"""Stream error codes (docs/protocol.md, section 6)."""

NO_ERROR = 0x100
INTERNAL_ERROR = 0x102
EXCESSIVE_LOAD = 0x107
REQUEST_REJECTED = 0x10B
REQUEST_CANCELLED = 0x10C
REQUEST_INCOMPLETE = 0x10D
MESSAGE_ERROR = 0x10E
UPSTREAM_ERROR = 0x10F

CHALLENGE = "Peerfetch"
"""The scheme of ``www-authenticate`` in a 401 that asks for the access token (section 8)."""
