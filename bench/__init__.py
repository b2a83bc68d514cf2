"""Benchmarks: one module per question (README.md)."""
