"""Small, very fast tensors for Python."""

from gorgo._core import __version__

__all__ = ["__version__"]
