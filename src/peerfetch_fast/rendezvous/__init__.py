"""A server by which everybody finds everybody: signaling, page and module by HTTPS, and relays."""
