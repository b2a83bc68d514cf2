"""What the stream engine (``_framing.pyx``) is made of, without it."""
