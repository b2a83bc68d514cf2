"""The parts of the stream engine (``_framing.pyx``), the access token, sessions and links."""
