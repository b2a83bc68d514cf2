"""The parts of peerjs-python beside its client."""
