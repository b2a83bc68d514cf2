"""SCTP as WebRTC uses it (RFC 9260, RFC 8831): a sans-I/O association, compiled."""
