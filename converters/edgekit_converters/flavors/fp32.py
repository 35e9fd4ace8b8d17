"""The float32 flavor: the cleaned model itself."""

from edgekit_converters.flavors.flavor import Built, Source


def build(source: Source) -> Built:
    """Return the cleaned model as it is."""
    return Built(model=source.model, note="lossless passes only")
