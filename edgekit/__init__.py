"""Get trained models onto small devices, signed, and keep a fleet of them up to date."""

from edgekit.errors import EdgekitError

__version__ = "0.1.0"
__all__ = ["EdgekitError", "__version__"]
