"""Every surface by its name. tests/fuzz/README.md is the page."""

from collections.abc import Mapping

from tests.fuzz import files, messages, requests
from tests.fuzz.surface import Surface

SURFACES: Mapping[str, Surface] = {
    surface.name: surface
    for surface in (*messages.SURFACES, *files.SURFACES, *requests.SURFACES)
}
