"""A model of this device in the caller's own process, exchanged when the agent's is.

    from edgekit_agent.model import Model

    with Model.follow("wine") as wine:
        answer = wine.predict({"alcohol": 13.2, "hue": 1.05})

It reads the agent's folder and changes nothing there. The agent checks, proves and chooses;
what it chose is loaded here beside what answers, then takes its place between two calls.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np

from edgekit import binding
from edgekit.errors import ConfigError, EdgekitError, SchemaError
from edgekit.runtime import give_back_memory
from edgekit.schema import Enforcement
from edgekit.table import Array
from edgekit_agent import config
from edgekit_agent.service.row import DoublesRow
from edgekit_agent.service.served import Identity, Served
from edgekit_agent.storage.choice import Choice
from edgekit_agent.storage.store import Store

log = logging.getLogger(__name__)

Rows: TypeAlias = Mapping[str, object] | Sequence[Mapping[str, object]] | Array

_WAIT_PAUSE_S = 0.1


class Answer(NamedTuple):
    """What a model answered, and which bundle it was.

    `prediction` is what the original python_function returned: one array [rows, ...], or
    arrays by name. `probabilities` [rows, classes] and `score` are None where the model has
    none.
    """

    prediction: Array | dict[str, Array]
    probabilities: Array | None
    score: Array | None
    identity: Identity


class _Held(NamedTuple):
    served: Served
    row: DoublesRow | None


class Model:
    """Follows one registered model. Any thread may ask; answers are of one version each."""

    def __init__(
        self,
        name: str,
        *,
        state_dir: Path,
        enforcement: Enforcement = Enforcement.STRICT,
        interval_s: float = 1.0,
        wait_s: float = 0.0,
    ) -> None:
        """Load what the agent serves now; see `follow`."""
        self._name = name
        self._store = Store(state_dir)
        self._choice = Choice(state_dir, name)
        self._mode = enforcement
        self._interval_s = interval_s
        self._held = self._first(wait_s)
        self._closed = threading.Event()
        self._follower = threading.Thread(
            target=self._follow, name=f"follow {name}", daemon=True
        )
        self._follower.start()

    @classmethod
    def follow(
        cls,
        name: str,
        *,
        settings: Path | None = None,
        interval_s: float = 1.0,
        wait_s: float = 0.0,
    ) -> Self:
        """Load what the agent of this device serves, and follow it.

        `settings` is its agent.toml, by default where the agent itself looks. Every
        `interval_s` seconds it is seen whether the agent chose another version; `wait_s`
        is how long to wait for the first one. Raises ConfigError where there is none,
        StoreError where the agent's folder cannot be read.
        """
        found = config.load(settings or config.Environment.read().config)
        found.subscription(name)
        return cls(
            name,
            state_dir=found.state_dir,
            enforcement=Enforcement(found.enforcement),
            interval_s=interval_s,
            wait_s=wait_s,
        )

    @property
    def identity(self) -> Identity:
        """Which bundle would answer now."""
        return self._held.served.identity

    def predict(self, rows: Rows) -> Answer:
        """Answer one row (values by column), columns of rows, a list of rows, or a tensor.

        A mapping is one row if all its values are scalars, and columns of equal length
        otherwise. Raises SchemaError for what the signature refuses, ProofError where the
        model fails.
        """
        held = self._held
        served = held.served
        if held.row is not None and isinstance(rows, dict):
            feeds = held.row.feeds(rows)
            if feeds is not None:
                return _answer(served, feeds, self._mode)
        table = served.schema.enforce(_table(rows), mode=self._mode)
        return _answer(served, binding.feeds(served.binding, table), self._mode)

    def close(self) -> None:
        """Follow no more; the last version still answers."""
        self._closed.set()
        self._follower.join()

    def __enter__(self) -> Self:
        """Return the model."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Follow no more."""
        self.close()

    def _first(self, wait_s: float) -> _Held:
        ends_s = time.monotonic() + wait_s
        while (found := self._chosen()) is None:
            if time.monotonic() >= ends_s:
                raise ConfigError(
                    f"model {self._name}: the agent serves no version of it yet;"
                    " `edgekit-agent status` tells what it is doing"
                )
            time.sleep(_WAIT_PAUSE_S)
        return self._load(found)

    def _chosen(self) -> Identity | None:
        release = self._choice.read()
        if release is None:
            return None
        return Identity(
            model=self._name,
            version=release.version,
            flavor=release.flavor,
            sha256=release.sha256,
        )

    def _load(self, identity: Identity) -> _Held:
        served = Served.load(self._store, identity)
        return _Held(served=served, row=DoublesRow.of(served.schema, served.binding))

    def _follow(self) -> None:
        while not self._closed.wait(self._interval_s):
            try:
                if self._choice.has_changed():
                    self._exchange()
            except (EdgekitError, MemoryError) as error:
                log.warning("model %s: %s; %s still answers", self._name, error, self._told)

    @property
    def _told(self) -> str:
        return f"version {self.identity.version}"

    def _exchange(self) -> None:
        chosen = self._chosen()
        if chosen is None or chosen.sha256 == self.identity.sha256:
            return
        before = self._told
        self._held = self._load(chosen)
        log.info("model %s: %s answers instead of %s", self._name, self._told, before)
        give_back_memory()


def _answer(served: Served, feeds: dict[str, Array], mode: Enforcement) -> Answer:
    found = binding.results(served.binding, served.session.run(feeds))
    if served.outputs is not None and mode is not Enforcement.OFF:
        served.outputs.check(found.prediction)
    return Answer(found.prediction, found.probabilities, found.score, served.identity)


def _table(rows: Rows) -> dict[str, Array]:
    if isinstance(rows, np.ndarray):
        return {"": rows}
    if isinstance(rows, Mapping):
        if not any(isinstance(v, list | tuple | np.ndarray) for v in rows.values()):
            return {name: _array([value]) for name, value in rows.items()}
        return {name: _column(name, values) for name, values in rows.items()}
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _array([row.get(name) for row in rows]) for name in names}


def _column(name: str, values: object) -> Array:
    if isinstance(values, np.ndarray):
        return values
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise SchemaError(
            f"column {name}: {type(values).__name__}, an array or a list of its rows is"
            " expected beside other columns"
        )
    return _array(list(values))


def _array(values: list[Any]) -> Array:
    """Return an array of the values' one type, of objects where they have several."""
    if len({*map(type, values)}) == 1 and isinstance(
        values[0], bool | int | float | str | np.generic
    ):
        try:
            return np.array(values)
        except OverflowError:
            pass
    return np.fromiter(values, dtype=object, count=len(values))
