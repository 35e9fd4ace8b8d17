"""Surfaces in files: what people write, what others sign, what a disk gives back."""

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from edgekit import board, bundle, delta, golden
from edgekit.errors import (
    BoardError,
    ConfigError,
    ConversionError,
    ProofError,
    RegistryError,
    SchemaError,
    StoreError,
    TrustError,
)
from edgekit.fleet import config as fleet_config
from edgekit.golden import Golden
from edgekit.manifest import GOLDEN_NAME, Manifest, Signature
from edgekit.schema import Schema
from edgekit.trust.evidence import Evidence
from edgekit.trust.floor import Floor
from edgekit.trust.key_proposal import parse as parse_proposal
from edgekit.trust.redraft import founding, naming, renewing
from edgekit_agent import config as agent_config
from edgekit_agent.proof import prove
from edgekit_agent.rules.record import Phase, Record, Release
from edgekit_agent.storage import bundles
from edgekit_agent.storage.store import Store
from edgekit_agent.storage.testimony import Mark
from edgekit_converters.inspection.inspect import inspect
from tests.agent.making import made, scaler
from tests.core.examples import MEMBERS, manifest
from tests.core.onnx_files import forest_file
from tests.fuzz.surface import Form, Surface
from tests.trust.device import SERVED
from tests.trust.simulator import NOW, pointer, record
from tests.trust.workbench import Keys, create

OLD = {"golden.json": b"{}", "model.onnx": b"old content " * 40}
NEW = {"golden.json": b"{}", "model.onnx": b"new content " * 50, "profile": b"p" * 90}

PROVISIONED = b"""\
format = 1
fleet = "demo"
device = "pi-7"
board = "raspberry-pi-4"
arch = "aarch64"
state_dir = "/var/lib/edgekit"
runtime_dir = "/run/edgekit"
enforcement = "strict"
staleness = "refuse"
telemetry_interval_s = 30
root = '''{"signed": {"_type": "root", "x-edgekit-fleet": "demo"}}'''
[broker]
url = "mqtts://broker.example:8883"
username = "pi-7"
password_file = "/etc/edgekit/secret"
ca_file = "/etc/edgekit/ca.pem"
[limits]
model_ram_mb = 512
model_flash_mb = 1024
[hooks]
dir = "/etc/edgekit/hooks"
time_limit_s = 60
[serving]
port = 8080
mqtt = true
[shadow]
rows = 200
max_kb = 256
[[models]]
name = "wine"
stage = "production"
ram_mb = 64
flash_mb = 64
least_agreement = 0.9
most_difference = 0.1
"""
FLEET = b"""\
format = 1
fleet = "demo"
[broker]
url = "mqtt://localhost:1883"
[registry]
uri = "http://mlflow.example"
trust_pickle = false
[stages.production]
selector = "stage:production"
[stages.canary]
selector = "@canary"
[release]
boards = ["raspberry-pi-4"]
max_drop = 0.015
proven_only = true
[models.wine]
samples = "rows.csv"
target = "kind"
metric = "auc"
score = "reconstruction"
group = "clip"
"""
SIGNATURES: Sequence[Signature] = (
    Signature(
        inputs=[
            {"type": "long", "name": "a", "required": True},
            {"type": "datetime", "name": "b", "required": False},
            {"type": "array", "items": {"type": "double"}, "name": "c"},
            {
                "type": "object",
                "properties": {"x": {"type": "map", "values": {"type": "string"}}},
                "name": "d",
            },
        ],
        outputs=[{"type": "long", "required": True}],
        params=[
            {"name": "k", "type": "long", "default": 3, "shape": None},
            {"name": "t", "type": "datetime", "default": "2020-01-01", "shape": None},
            {"name": "s", "dtype": "string", "default": ["a"], "shape": [-1]},
        ],
    ),
    Signature(
        inputs=[
            {
                "type": "tensor",
                "name": "x",
                "tensor-spec": {"dtype": "float32", "shape": [-1, 2]},
            },
            {
                "type": "tensor",
                "name": "y",
                "tensor-spec": {"dtype": "int64", "shape": [3]},
            },
        ]
    ),
)


@cache
def _place() -> Path:
    """A folder of this process, for files that only have a meaning by their path."""
    return Path(tempfile.mkdtemp(prefix="ek-fuzz-"))


def _at(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Return an entry that reads the bytes from a file."""

    def entry(data: bytes) -> object:
        path = _place() / name
        path.write_bytes(data)
        return read(path)

    return entry


def _signature(data: bytes) -> Schema:
    return Schema.from_signature(Manifest.from_json(data).signature)


def _signed(signature: Signature) -> bytes:
    document = json.loads(manifest().to_json())
    document["signature"] = {
        key: value
        for key in ("inputs", "outputs", "params")
        if (value := getattr(signature, key)) is not None
    }
    return json.dumps(document).encode()


def _vectors() -> Sequence[bytes]:
    inputs = {"a": np.array([1.5, np.nan]), "t": np.array(["x", "y"], dtype=object)}
    outputs = {"y": np.array([[1], [2]], dtype=np.int64), "ok": np.array([True, False])}
    return [golden.encode(Golden(inputs=inputs, outputs=outputs))]


def _in_columns() -> bytes:
    members = {"model.onnx": forest_file(200), "golden.json": b"{}"}
    return bundle.pack(manifest(members), members)


def _patched(data: bytes) -> None:
    old, new = ({n: bundle.describe(c) for n, c in m.items()} for m in (OLD, NEW))
    written = 0
    for name, block in delta.apply(io.BytesIO(data), old, new, _slice):
        written += len(block)
        assert name in NEW
        assert written <= sum(map(len, NEW.values())), "more than the manifest allows"


def _slice(name: str, offset: int, length: int) -> bytes:
    return OLD[name][offset : offset + length]


def _head(data: bytes) -> None:
    """A device reads where the manifest ends before it has the rest."""
    bundle.head_bytes(data)
    bundle.read_manifest(io.BytesIO(data))


def _proven(entry: Callable[[bytes], tuple[Manifest, bytes]]) -> Callable[[bytes], None]:
    """Return an entry that packs a rightly signed bundle of these bytes and proves it."""

    def prove_it(data: bytes) -> None:
        manifest, vectors = entry(data)
        _, members = bundle.read_members(io.BytesIO(made().data))
        members[GOLDEN_NAME] = vectors
        files = {name: bundle.describe(content) for name, content in members.items()}
        packed = bundle.pack(replace(manifest, files=files), members)
        with tempfile.TemporaryDirectory(prefix="ek-fuzz-") as folder:
            store = Store(Path(folder))
            store.prepare()
            digest = hashlib.sha256(packed).hexdigest()
            (store.incoming / digest).write_bytes(packed)
            bundles.add(store, digest, store.incoming / digest)
            prove(store, digest, max_rss_bytes=2**40)

    return prove_it


def _with_manifest(data: bytes) -> tuple[Manifest, bytes]:
    return Manifest.from_json(data), _member(GOLDEN_NAME)


def _with_vectors(data: bytes) -> tuple[Manifest, bytes]:
    return made().manifest, data


def _member(name: str) -> bytes:
    return bundle.read_members(io.BytesIO(made().data))[1][name]


def _proposals() -> Sequence[bytes]:
    keys = Keys()
    with tempfile.TemporaryDirectory(prefix="ek-fuzz-") as folder:
        repository = create(Path(folder) / "repository", keys)
        proposal = repository.propose(
            records=[record("1")],
            pointers=[pointer("1", 1)],
            signers=keys.look_up,
            now=NOW,
        )
        changes = (
            naming("models", keys.make("models", 2)),
            founding("stage-canary", keys.make("stage-canary")),
            renewing(["root"]),
        )
        changed = [
            repository.propose_keys(change, signers=keys.look_up, now=NOW)
            for change in changes
        ]
    return [proposal.to_json(), *(one.to_json() for one in changed)]


def _evidence() -> Sequence[bytes]:
    kept = Evidence(models=b"{}", stage=b"{}", pointer=b"{}", record=b"{}")
    return [kept.to_json()]


def _marks() -> Sequence[bytes]:
    release = Release(version="1", flavor="fp32", sha256="ab" * 32, rollout=1)
    return [Mark(model="wine", stage="production", turn=1, release=release).to_json()]


def _records() -> Sequence[bytes]:
    serving = Record(model="wine", stage="production", phase=Phase.SERVING, current=SERVED)
    return [serving.to_json()]


def _profiles() -> Sequence[bytes]:
    folder = Path(board.__file__).parents[1] / "boards"
    return [(folder / f"{name}.toml").read_bytes() for name in board.shipped()[:2]]


SURFACES = (
    Surface(
        name="agent.toml",
        entry=_at("agent.toml", agent_config.load),
        seeds=lambda: [PROVISIONED],
        refusals=(ConfigError,),
        form=Form.TOML,
        examples=40,
    ),
    Surface(
        name="fleet.toml",
        entry=_at("fleet.toml", lambda path: fleet_config.load(path.parent)),
        seeds=lambda: [FLEET],
        refusals=(ConfigError, RegistryError),
        form=Form.TOML,
        examples=40,
    ),
    Surface(
        name="board.toml",
        entry=_at("own.toml", lambda path: board.load(str(path))),
        seeds=_profiles,
        refusals=(BoardError,),
        form=Form.TOML,
        examples=40,
    ),
    Surface(
        name="manifest",
        entry=Manifest.from_json,
        seeds=lambda: [manifest().to_json()],
        refusals=(TrustError,),
        form=Form.JSON,
    ),
    Surface(
        name="signature",
        entry=_signature,
        seeds=lambda: list(map(_signed, SIGNATURES)),
        refusals=(TrustError, SchemaError),
        form=Form.JSON,
        examples=150,
    ),
    Surface(
        name="golden",
        entry=golden.decode,
        seeds=_vectors,
        refusals=(TrustError,),
        form=Form.JSON,
    ),
    Surface(
        name="bundle",
        entry=lambda data: bundle.read_members(io.BytesIO(data)),
        seeds=lambda: [made().data, bundle.pack(manifest(), MEMBERS), _in_columns()],
        refusals=(TrustError,),
    ),
    Surface(
        name="bundle-head",
        entry=_head,
        seeds=lambda: [made().data],
        refusals=(TrustError,),
    ),
    Surface(
        name="proof-manifest",
        entry=_proven(_with_manifest),
        seeds=lambda: [made().manifest.to_json()],
        refusals=(TrustError, SchemaError, ProofError),
        form=Form.JSON,
        examples=40,
    ),
    Surface(
        name="proof-golden",
        entry=_proven(_with_vectors),
        seeds=lambda: [_member(GOLDEN_NAME)],
        refusals=(TrustError, SchemaError, ProofError),
        form=Form.JSON,
        examples=40,
    ),
    Surface(
        name="patch",
        entry=_patched,
        seeds=lambda: [delta.make(OLD, NEW)],
        refusals=(TrustError,),
    ),
    Surface(
        name="proposal",
        entry=parse_proposal,
        seeds=_proposals,
        refusals=(TrustError,),
        form=Form.JSON,
    ),
    Surface(
        name="state",
        entry=lambda data: Record.from_json(data, subject="state.json"),
        seeds=_records,
        refusals=(StoreError,),
        form=Form.JSON,
    ),
    Surface(
        name="evidence",
        entry=Evidence.from_json,
        seeds=_evidence,
        refusals=(TrustError,),
        form=Form.JSON,
    ),
    Surface(
        name="mark",
        entry=lambda data: Mark.from_json(data, subject=".served.json"),
        seeds=_marks,
        refusals=(StoreError,),
        form=Form.JSON,
    ),
    Surface(
        name="floor",
        entry=Floor.from_json,
        seeds=lambda: [Floor(fleet="demo").to_json()],
        refusals=(TrustError,),
        form=Form.JSON,
    ),
    Surface(
        name="onnx",
        entry=_at("model.onnx", lambda path: inspect(path, ())),
        seeds=lambda: [scaler(2.0)],
        refusals=(ConversionError,),
        room_bytes=256 * 2**20,
    ),
)
