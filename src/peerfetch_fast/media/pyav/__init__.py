"""Containers, devices and codecs, by PyAV: nothing else imports it."""

from peerfetch_fast.errors import MissingExtra

try:
    import av  # noqa: F401 - whether it is there
except ImportError:
    raise MissingExtra("cameras need PyAV: pip install 'peerfetch-fast[media]'") from None
