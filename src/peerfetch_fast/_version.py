"""The version, where that is cheaper to read than an installed package's metadata."""

__all__ = ["__version__"]

__version__ = "0.1.0"
