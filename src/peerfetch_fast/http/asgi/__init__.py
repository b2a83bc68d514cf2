"""Call ASGI applications: what is behind ``serve(app)``."""

from peerfetch_fast.http.asgi.handler import AsgiHandler
from peerfetch_fast.http.asgi.types import Application

__all__ = ["Application", "AsgiHandler"]
