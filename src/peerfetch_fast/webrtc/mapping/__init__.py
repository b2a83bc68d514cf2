"""Ports that home routers open for us: PCP, NAT-PMP and UPnP-IGD."""
