from tests.webrtc.conftest import each_loop

__all__ = ["each_loop"]
