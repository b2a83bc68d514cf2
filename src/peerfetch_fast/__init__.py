"""HTTP over WebRTC data channels."""
