"""Call ASGI applications, for ``serve(app)``."""
