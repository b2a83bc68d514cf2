"""The hub protocol of Smoke's nodes (docs/smoke.md, "The hub")."""
