"""An operator's side in a temporary folder: a real repository, a fake registry.

The fakes implement the ports; what they convert is bytes that depend on the version.
"""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from edgekit import board
from edgekit.bundle import describe
from edgekit.conversion import Candidate, Conversion, ConversionRequest, Progress
from edgekit.errors import RegistryError
from edgekit.registry import ModelVersion, RunFacts
from edgekit.release.cache import Options
from edgekit.release.ledger import Ledger
from edgekit.release.release import Released, Source, release
from edgekit.release.workplace import Workplace
from edgekit.trust.payload import CryptoSigner, Signer
from edgekit.trust.repository import Repository
from edgekit.trust.roles import RoleKeys, role_names
from tests.core import examples

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STAGES = ("production", "staging")


@dataclass
class FakeRegistry:
    """A registry of versions "1" to "9" of any model; an alias is a key of `aliases`."""

    aliases: dict[str, str] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    downloads: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    refuses_writes: bool = False

    def resolve(self, model_uri: str) -> ModelVersion:
        scheme, _, rest = model_uri.partition(":/")
        name, _, suffix = rest.replace("@", "/").partition("/")
        version = self.aliases.get(suffix, suffix)
        if not version.isdecimal() and scheme == "models":
            raise RegistryError(f"{model_uri}: {name} has no alias {suffix}")
        return ModelVersion(
            name=name,
            version=version,
            run_id=f"run-{version}",
            source=model_uri,
            registered=scheme == "models",
        )

    def download(self, version: ModelVersion, folder: Path) -> Path:
        self.downloads.append(version.uri)
        folder.mkdir(parents=True)
        content = self.contents.get(version.version, version.version.encode())
        (folder / "MLmodel").write_bytes(content)
        return folder

    def run(self, run_id: str) -> RunFacts:
        if not run_id.startswith("run-"):
            raise RegistryError(f"run {run_id}: there is no such run")
        return RunFacts(
            run_id=run_id,
            name="fit",
            experiment="training",
            user="ada",
            status="FINISHED",
            started=NOW,
            params={"C": "1"},
            metrics={"accuracy": 0.9},
        )

    def log_conversion(
        self, version: ModelVersion, conversion: Conversion, request: ConversionRequest
    ) -> str:
        assert conversion.candidates
        assert request.identity.version == version.version
        if self.refuses_writes:
            raise RegistryError("registry: read-only")
        self.logged.append(version.uri)
        return f"conversion-{len(self.logged)}"


@dataclass
class FakeConverter:
    """Makes an fp32 and an int8 flavor; int8 is chosen for all boards but the last."""

    requests: list[ConversionRequest] = field(default_factory=list)
    dies_after_first_flavor: bool = False

    def __call__(self, request: ConversionRequest, progress: Progress) -> Conversion:
        self.requests.append(request)
        progress("converting")
        source = next(request.model_folder.iterdir()).read_bytes()
        fp32 = flavor_folder(request.out / "fp32", "fp32", request, b"32" + source)
        if self.dies_after_first_flavor:
            raise KeyboardInterrupt
        int8 = flavor_folder(request.out / "int8", "int8", request, b"8" + source)
        report = request.out / "report.json"
        report.write_text("{}")
        boards = [board.name for board in request.boards]
        return Conversion(
            candidates=(candidate("fp32", fp32), candidate("int8", int8)),
            choices={**dict.fromkeys(boards, "int8"), boards[-1]: "fp32"},
            source_bytes=100,
            fp32_bytes=90,
            samples=10,
            report_json=report,
            report_html=report,
        )


def flavor_folder(
    folder: Path, flavor: str, request: ConversionRequest, weights: bytes
) -> Path:
    members = {"model.onnx": weights, "golden.json": b"{}"}
    folder.mkdir(parents=True)
    for name, content in members.items():
        (folder / name).write_bytes(content)
    manifest = replace(
        examples.manifest(members),
        model=request.identity,
        flavor=flavor,
        files={name: describe(content) for name, content in members.items()},
    )
    (folder / "manifest.json").write_bytes(manifest.to_json())
    return folder


def candidate(flavor: str, folder: Path) -> Candidate:
    return Candidate(
        flavor=flavor,
        accepted=True,
        reason="",
        model_bytes=1,
        bundle_bytes=1,
        peak_rss_bytes=1,
        one_row_p50_us=1,
        one_row_p95_us=1,
        batch_us_per_row=1.0,
        agreement=1.0,
        drop=0.0,
        folder=folder,
    )


@cache
def signers() -> dict[str, Signer]:
    """One key in memory for each role: encrypted files take a second to make and open."""
    return {role: CryptoSigner.generate_ed25519() for role in role_names(STAGES)}


def found(folder: Path) -> Repository:
    """Make a fleet's repository, signed by the keys in memory."""
    by_keyid = {signer.public_key.keyid: signer for signer in signers().values()}
    return Repository.create(
        folder / "repository",
        fleet="demo",
        stages=STAGES,
        keys={role: RoleKeys(keys=(s.public_key,)) for role, s in signers().items()},
        signers=by_keyid.get,
        now=NOW,
    )


@dataclass
class Workshop:
    """Everything a release needs, and a short way to make one."""

    folder: Path
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    converter: FakeConverter = field(default_factory=FakeConverter)
    talk: list[str] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)  # roles whose keys are not at hand

    def __post_init__(self) -> None:
        self.repository = found(self.folder)
        self.ledger = Ledger(self.folder / "ledger.db")
        self.workplace = Workplace(
            repository=self.repository,
            ledger=self.ledger,
            flavors=self.folder / "flavors",
            signers=self.sign,
            who="ada",
        )

    def release(
        self,
        uri: str,
        *,
        stage: str = "production",
        boards: tuple[str, ...] = ("generic-x86-64", "raspberry-pi-4"),
        now: datetime = NOW,
    ) -> Released:
        released = release(
            uri,
            stage=stage,
            options=Options(boards=tuple(map(board.load, boards))),
            source=Source(registry=self.registry, converter=self.converter),
            workplace=self.workplace,
            now=now,
            progress=self.talk.append,
        )
        assert isinstance(released, Released)
        return released

    def sign(self, keyid: str) -> Signer | None:
        for role, signer in signers().items():
            if signer.public_key.keyid == keyid and role not in self.absent:
                return signer
        return None

    def signed(self, role: str) -> list[str]:
        """The signatures of a role's key ids, straight from the newest metadata."""
        files = self.folder / "repository" / "files"
        newest = max(
            files.glob(f"*.{role}.json"), key=lambda path: int(path.name.split(".")[0])
        )
        return [one["keyid"] for one in json.loads(newest.read_bytes())["signatures"]]
