"""What a flavor's builder is given, and what it answers. Knows no way to store a weight."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from onnx import ModelProto

from edgekit.table import Array

NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


class Search(Protocol):
    """What a builder may ask while it chooses between variants of its flavor.

    Its answers come from rows that the gate does not judge on, as long as there are
    enough of both. They depend on the model alone, so equal models give equal choices;
    only `spent` depends on the time, and a builder that heeds it says so in its note.
    """

    @property
    def max_drop(self) -> float:
        """How much worse than the original a flavor may be, in the gate's metric."""

    def drop(
        self, model: ModelProto, session_options: Mapping[str, str] = NO_OPTIONS
    ) -> float:
        """Return how much worse a variant is, in the gate's metric; less is better.

        Infinite when it does not run, or not before the time is up; negative when it is
        better than the original.
        """

    def progress(self, text: str) -> None:
        """Tell the user what is being tried."""

    def spent(self) -> bool:
        """Whether to stop and return the best so far: no time left, or the user said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A faithful, cleaned float32 model, and ONNX inputs like those it will see.

    `calibration` are feeds, [rows, ...] each, for flavors that must know the range of
    inner values: the rows of the search. `names` says what the original called the inner
    values of `model`; what is not in it has kept its name. Without a `search` a builder
    takes its default variant.
    """

    model: ModelProto
    calibration: Mapping[str, Array]
    search: Search | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def original_name(self, name: str) -> str:
        """Return what the original model calls an inner value."""
        return self.names.get(name, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line about a part of the model, for the report.

    `subject` is a layer, tensor or tree in the original model's words, `fact` a short
    sentence, `value` a number to sort by, such as the drop when this layer alone is
    quantised.
    """

    subject: str
    fact: str
    value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A flavor, not yet cleaned, encoded or judged.

    `note` is one clause about what was done, `findings` the details part by part, both
    for the report. `names` is known once the model is cleaned: what the original calls
    its inner values.
    """

    model: ModelProto
    note: str
    session_options: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DoesNotApply:
    """The flavor has nothing to gain on this model, and why."""

    reason: str


Builder = Callable[[Source], Built | DoesNotApply]
