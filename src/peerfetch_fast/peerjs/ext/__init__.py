"""What peerjs-python has beside its client."""
