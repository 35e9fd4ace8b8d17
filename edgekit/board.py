"""Board profiles: what a class of devices can hold and run, one TOML file each.

Knows the shipped folder and a path, nothing of ONNX or MLflow. boards/README.md says what
each field means, in which unit, and how to measure one.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from edgekit.document import Reader, read_toml, refuse_unknown
from edgekit.errors import BoardError

ARCHES = ("aarch64", "x86_64")
_VERSION = re.compile(r"[0-9]+(\.[0-9]+){1,2}")
_FIGURES = (
    "cpu",
    "isa",
    "cores",
    "ram_mb",
    "model_ram_mb",
    "model_flash_mb",
    "onnxruntime",
    "speed",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How a row's time on a board follows from its time on the machine that converts.

    there = overhead_us + factor * here; half of the reports lie between the factors `low`
    and `high`. Written by `edgekit boards calibrate` from what devices report.
    """

    factor: float
    overhead_us: int
    low: float
    high: float
    pairs: int
    devices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """What a board can hold and run. Megabytes are 2**20 bytes.

    `model_ram_mb` is what the process that serves may take (its peak RSS, onnxruntime
    included), `model_flash_mb` what all stored bundles together may take; `onnxruntime` is
    the oldest version its agents run. `speed` is this board's one-thread speed as a
    fraction of the reference (a 2.4 GHz Cortex-A76, Raspberry Pi 5): an estimate.
    `allow_domains` names operator domains beyond ONNX's own that its onnxruntime has, such
    as com.microsoft. `latency` is there once devices have told how fast they are.
    `sources` says where each figure is from.
    """

    name: str
    title: str
    arch: str
    cpu: str
    isa: tuple[str, ...]
    cores: int
    ram_mb: int
    model_ram_mb: int
    model_flash_mb: int
    onnxruntime: str
    speed: float
    allow_domains: tuple[str, ...] = ()
    sources: Mapping[str, str]
    latency: Calibration | None = None

    @property
    def saturates_u8s8(self) -> bool:
        """Whether products of uint8 and int8 saturate at int16 here.

        They do on x86-64 without VNNI (`vpmaddubsw`), neither with it nor on any Arm core;
        a model with uint8 activations and int8 weights then answers otherwise.
        """
        return self.arch == "x86_64" and "vnni" not in self.isa


def shipped() -> tuple[str, ...]:
    """Return the names of the shipped profiles, sorted."""
    return tuple(
        sorted(
            entry.name.removesuffix(".toml")
            for entry in _folder().iterdir()
            if entry.name.endswith(".toml")
        )
    )


def load(name_or_path: str) -> Board:
    """Read a shipped profile by name, or the TOML file at a path; BoardError if neither."""
    if name_or_path.endswith(".toml"):
        try:
            text = Path(name_or_path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BoardError(f"{name_or_path}: cannot be read: {error}") from error
        return parse(text, subject=name_or_path)
    known = shipped()
    if name_or_path not in known:
        near = difflib.get_close_matches(name_or_path, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        raise BoardError(f"board {name_or_path}: no such profile; {hint}")
    text = (_folder() / f"{name_or_path}.toml").read_text("utf-8")
    return parse(text, subject=f"board {name_or_path}")


def parse(text: str, *, subject: str) -> Board:
    """Parse a profile; BoardError for anything unknown, missing or out of range."""
    table = read_toml(text, subject=subject, error=BoardError)
    refuse_unknown(table, Board.__dataclass_fields__, subject=subject, error=BoardError)
    reader = Reader(table=table, subject=subject, error=BoardError)
    speed = reader.number("speed")
    if speed <= 0:
        reader.fail("speed", "a number above 0")
    onnxruntime = reader.text("onnxruntime")
    if not _VERSION.fullmatch(onnxruntime):
        reader.fail("onnxruntime", 'a version such as "1.22"')
    sources = reader.string_map("sources")
    refuse_unknown(sources, _FIGURES, subject=f"{subject}: sources", error=BoardError)
    board = Board(
        name=reader.text("name"),
        title=reader.text("title"),
        arch=reader.one_of("arch", ARCHES),
        cpu=reader.text("cpu"),
        isa=reader.texts("isa"),
        cores=reader.integer("cores", least=1),
        ram_mb=reader.integer("ram_mb", least=1),
        model_ram_mb=reader.integer("model_ram_mb", least=1),
        model_flash_mb=reader.integer("model_flash_mb", least=1),
        onnxruntime=onnxruntime,
        speed=speed,
        allow_domains=reader.texts("allow_domains", ()),
        sources=sources,
        latency=_calibration(reader),
    )
    if board.model_ram_mb > board.ram_mb:
        reader.fail("model_ram_mb", f"at most ram_mb ({board.ram_mb})")
    return board


def _calibration(reader: Reader) -> Calibration | None:
    if "latency" not in reader.table:
        return None
    inner = reader.child("latency")
    refuse_unknown(
        inner.table,
        Calibration.__dataclass_fields__,
        subject=inner.subject,
        error=BoardError,
    )
    factor = inner.number("factor")
    if factor <= 0:
        inner.fail("factor", "a number above 0")
    return Calibration(
        factor=factor,
        overhead_us=inner.integer("overhead_us"),
        low=inner.number("low"),
        high=inner.number("high"),
        pairs=inner.integer("pairs", least=1),
        devices=inner.integer("devices", least=1),
    )


def _folder() -> Traversable:
    packaged = files("edgekit") / "_boards"
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "boards"
