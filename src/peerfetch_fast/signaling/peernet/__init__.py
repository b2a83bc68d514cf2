"""PeerNet: signaling by plain HTTP, without WebSockets (docs/peernet.md)."""
