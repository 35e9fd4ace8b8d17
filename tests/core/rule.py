"""One row: a case of enforcement, and the verdict that it must get."""

from dataclasses import dataclass

from edgekit.schema import Table
from tests.core.signatures import Entries


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A table or a request body for a signature; accepted unless there is a sentence."""

    name: str
    inputs: Entries
    table: Table | None = None
    body: dict[str, object] | None = None
    sentence: str | None = None
    dtypes: dict[str, str] | None = None
    values: dict[str, list[object]] | None = None
