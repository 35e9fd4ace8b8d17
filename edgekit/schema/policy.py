"""How strictly input is checked, and how much of it is read. Knows no data."""

from dataclasses import dataclass
from enum import StrEnum


class Enforcement(StrEnum):
    """What a device does with rows that do not fit the signature exactly."""

    STRICT = "strict"  # as MLflow, and whatever MLflow would alter or lose is refused
    MLFLOW = "mlflow"  # MLflow's own verdict and values, silent alterations included
    OFF = "off"  # nothing is checked, arrays are taken as they are


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may ask of a small machine; the defaults suit 512 MB of memory."""

    body_bytes: int = 32 * 1024 * 1024
    rows: int = 100_000
    columns: int = 20_000  # of one data frame
    cells: int = 5_000_000  # rows times columns of one data frame
    text_bytes: int = 64 * 1024 * 1024  # of an array of text, as wide as its longest
    nesting: int = 32  # lists and objects inside each other
