"""A loaded model with its interface: what one bundle answers to one request.

Knows bundles, schemas and sessions; no HTTP, no other model and no counting.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple

from edgekit import binding, golden
from edgekit.binding import Predictions
from edgekit.errors import ProofError
from edgekit.manifest import GOLDEN_NAME, MODEL_NAME, Binding
from edgekit.runtime import Session
from edgekit.schema import Enforcement, OutputSchema, Schema, encode_predictions
from edgekit.schema.outputs import Answer
from edgekit.table import Array, Table, rows, take
from edgekit.telemetry.profile import Profile
from edgekit_agent.service.content import Content
from edgekit_agent.service.recent import Recent
from edgekit_agent.service.runs import Runs
from edgekit_agent.storage import bundles, profiles
from edgekit_agent.storage.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which model a bundle is, as every answer tells."""

    model: str
    version: str
    flavor: str
    sha256: str


class Scored(NamedTuple):
    """The response to a scoring request, what was asked, and what the model said."""

    response: bytes
    inputs: Table
    answers: Predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A loaded model with its interface. Without a profile no values are counted.

    `row_s` is what its own golden row took when it was loaded, the first of its runs; with
    `runs` what it computes is timed, and should take that for each row.
    """

    identity: Identity
    schema: Schema
    binding: Binding
    session: Session
    outputs: OutputSchema | None = None
    recent: Recent | None = None
    profile: Profile | None = None
    row_s: float = 0.0
    runs: Runs | None = None

    @classmethod
    def load(cls, store: Store, identity: Identity) -> "Served":
        """Load a stored bundle, checked bit by bit, and let it answer one golden row.

        Raises StoreError when the disk changed it, ProofError when this runtime cannot
        run it, SchemaError when its signature cannot be enforced here.
        """
        manifest = bundles.read(store, identity.sha256)
        folder = store.bundle(identity.sha256)
        schema = Schema.from_signature(manifest.signature)
        served = cls(
            identity=identity,
            schema=schema,
            binding=manifest.binding,
            session=Session.load(folder / MODEL_NAME, manifest.runtime),
            profile=profiles.read(store, identity.sha256),
        )
        if GOLDEN_NAME in manifest.files:
            known = golden.decode((folder / GOLDEN_NAME).read_bytes())
            first = take(known.inputs, [0]) if rows(known.inputs) else known.inputs
            began_s = time.monotonic()
            raw = served.session.run(binding.feeds(manifest.binding, first))
            row_s = time.monotonic() - began_s
            answer = binding.results(manifest.binding, raw).prediction
            outputs = _promised(identity, schema, answer)
            return replace(served, outputs=outputs, row_s=row_s)
        return served

    def answer(self, body: bytes, content: Content, mode: Enforcement) -> Scored:
        """Return the response to a scoring request.

        Raises SchemaError for rows that the signature refuses, ProofError when the model
        fails on rows that it should take, or answers what its signature rules out.
        """
        parse = self.schema.parse_csv if content is Content.CSV else self.schema.parse
        payload = parse(body, mode=mode)
        found = binding.results(self.binding, self._run(payload.table))
        if self.outputs is not None and mode is not Enforcement.OFF:
            self.outputs.check(found.prediction)
        if self.recent is not None:
            self.recent.add(payload.table, found.prediction)
        answer = encode_predictions(found.prediction, framed=self.schema.has_columns)
        return Scored(answer, payload.table, found)

    def _run(self, table: Table) -> Mapping[str, Array]:
        feeds = binding.feeds(self.binding, table)
        name, sha256 = self.identity.model, self.identity.sha256
        expected_s = rows(table) * self.row_s
        watched = self.runs and self.runs.computing(name, sha256, expected_s)
        with watched or nullcontext():
            return self.session.run(feeds)

    @property
    def inputs(self) -> Iterator[str]:
        """The names of the signature's inputs; by position where it has none."""
        for position, spec in enumerate(self.schema.inputs or ()):
            yield getattr(spec, "name", None) or str(position)


def _promised(identity: Identity, schema: Schema, answer: Answer) -> OutputSchema | None:
    """Return the output schema if the model's own golden answer keeps it."""
    if schema.outputs is None:
        return None
    try:
        schema.outputs.check(answer)
    except ProofError as error:
        log.warning(
            "model %s %s: answers are not checked: %s",
            identity.model,
            identity.version,
            error,
        )
        return None
    return schema.outputs
