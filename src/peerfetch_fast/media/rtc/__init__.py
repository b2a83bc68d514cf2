"""Media connections: WebRTC with RTP, negotiated inside a session."""
