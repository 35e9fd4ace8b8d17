"""What the child process is asked to do, and how it is asked. Knows no framework."""

from dataclasses import dataclass
from pathlib import Path

from edgekit.document import Reader, canonical_json
from edgekit.errors import ConversionError
from edgekit_converters.intake.samples import SampleFile
from edgekit_converters.intake.source import Source, read
from edgekit_converters.runtimes import Supported


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One model to take out of its framework, for runtimes up to `supported`."""

    source: Source
    supported: Supported
    samples: SampleFile | None = None
    target: str | None = None
    trust_pickle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A job on its way to the child: `model` is a path still to be read, `out` a folder.

    `group` names a column of the samples that the model does not take.
    """

    model: Path
    out: Path
    supported: Supported
    samples: Path | None = None
    target: str | None = None
    group: str | None = None
    trust_pickle: bool = False

    def to_json(self) -> bytes:
        """Encode for the child."""
        return canonical_json(
            {
                "model": str(self.model),
                "out": str(self.out),
                "opset": self.supported.opset,
                "ml_opset": self.supported.ml_opset,
                "ir_version": self.supported.ir_version,
                "samples": None if self.samples is None else str(self.samples),
                "target": self.target,
                "group": self.group,
                "trust_pickle": self.trust_pickle,
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> "Order":
        """Decode in the child, or raise ConversionError."""
        reader = Reader.from_json(data, subject="order", error=ConversionError)
        return cls(
            model=Path(reader.text("model")),
            out=Path(reader.text("out")),
            supported=Supported(
                opset=reader.integer("opset"),
                ml_opset=reader.integer("ml_opset"),
                ir_version=reader.integer("ir_version"),
            ),
            samples=Path(reader.text("samples")) if reader.has("samples") else None,
            target=reader.text("target") if reader.has("target") else None,
            group=reader.text("group") if reader.has("group") else None,
            trust_pickle=reader.flag("trust_pickle"),
        )

    def job(self) -> Job:
        """Read the model's source; ConversionError if it cannot or must not be loaded."""
        source = read(self.model)
        source.refuse_untrusted(trust_pickle=self.trust_pickle)
        return Job(
            source=source,
            supported=self.supported,
            samples=self._sample_file(),
            target=self.target,
            trust_pickle=self.trust_pickle,
        )

    def _sample_file(self) -> SampleFile | None:
        if self.samples is None:
            return None
        aside = () if self.group is None else (self.group,)
        return SampleFile(path=self.samples, aside=aside)
