"""The refusal that another environment may cure. Knows no environment."""

from edgekit.errors import ConversionError


class UnloadableError(ConversionError):
    """The libraries installed here cannot load the model; those it was made with may."""
