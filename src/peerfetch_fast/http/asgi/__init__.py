"""Call ASGI applications: what is behind ``serve(app)``."""
