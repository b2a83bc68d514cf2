"""Nodes of ``smoke-node``, which our nodes meet at a hub (docs/smoke.md, "Old nodes")."""
