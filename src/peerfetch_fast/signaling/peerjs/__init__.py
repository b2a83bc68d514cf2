"""The PeerJS signaling protocol: its messages, a client and a server."""
