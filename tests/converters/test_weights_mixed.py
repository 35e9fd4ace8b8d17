import math
from collections.abc import Mapping

import numpy as np
import pytest
from onnx import ModelProto

from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors import FLAVORS, Built, DoesNotApply, Source
from edgekit_converters.flavors.stored.formats import FORMATS, INT5, INT8
from edgekit_converters.flavors.stored.storing import store_weights
from edgekit_converters.flavors.stored.weights import weights
from edgekit_converters.passes import clean, simplify_named
from tests.converters import networks
from tests.converters.extractions import outputs_of

pytestmark = pytest.mark.slow

FEEDS = {"image": networks.images(24)}
UNSEEN = {"image": networks.images(60, seed=9)}


class Closeness:
    """Drop: the root mean square of what changed, on rows of its own."""

    def __init__(self, model: ModelProto, *, max_drop: float, patience: int = 99) -> None:
        self.max_drop = max_drop
        self._wanted = self._answers(model)
        self._patience = patience
        self.tried: list[float] = []
        self.said: list[str] = []

    def drop(
        self, model: ModelProto, session_options: Mapping[str, str] | None = None
    ) -> float:
        assert not session_options
        self.tried.append(
            float(np.sqrt(np.mean((self._answers(model) - self._wanted) ** 2)))
        )
        return self.tried[-1]

    def progress(self, text: str) -> None:
        self.said.append(text)

    def spent(self) -> bool:
        return len(self.tried) >= self._patience

    def _answers(self, model: ModelProto) -> Array:
        return outputs_of(encode(clean(model)), UNSEEN)["probabilities"]


def searched(max_drop: float, patience: int = 99) -> tuple[Built | DoesNotApply, Closeness]:
    named = simplify_named(networks.classifier())
    search = Closeness(named.model, max_drop=max_drop, patience=patience)
    source = Source(model=named.model, calibration=FEEDS, search=search, names=named.names)
    return FLAVORS["weights-mixed"](source), search


def size(model: ModelProto) -> int:
    return len(encode(clean(model)))


@pytest.mark.parametrize("max_drop", [1e-3, 5e-3])
def test_no_allowed_uniform_format_is_smaller(max_drop: float) -> None:
    built, search = searched(max_drop)
    assert isinstance(built, Built)
    assert search.drop(built.model) <= max_drop
    model = simplify_named(networks.classifier()).model
    for form in FORMATS.values():
        plan = {weight.name: form for weight in weights(model)}
        uniform = store_weights(model, plan, FEEDS)
        if search.drop(uniform) <= max_drop / 2:
            assert size(built.model) <= size(uniform)


def test_more_allowed_never_takes_more_bytes() -> None:
    sizes = []
    for max_drop in (1e-3, 1e-2, 1e-1):
        built, _ = searched(max_drop)
        assert isinstance(built, Built)
        sizes.append(size(built.model))
    assert sizes == sorted(sizes, reverse=True)


def test_weights_may_differ_in_bits_and_each_is_told_in_the_originals_words() -> None:
    built, _ = searched(5e-3)
    assert isinstance(built, Built)
    assert " as int" in built.note
    assert {f.subject for f in built.findings} == {
        networks.inner(name) for name in ("w1", "w2", "w3")
    }
    assert all("weights as int" in f.fact for f in built.findings)
    assert any(f.value is not None and math.isfinite(f.value) for f in built.findings)


def test_when_nothing_is_allowed_it_says_so() -> None:
    result, _ = searched(0.0)
    assert result == DoesNotApply(
        reason="even one weight in int8 loses more than is allowed"
    )


@pytest.mark.parametrize("patience", [1, 2, 4])
def test_a_search_that_ends_early_returns_the_best_so_far(patience: int) -> None:
    built, search = searched(5e-3, patience)
    assert isinstance(built, Built)
    assert len(search.tried) == patience
    assert search.drop(built.model) <= 5e-3


def test_a_search_that_is_over_before_it_began_finds_nothing() -> None:
    result, _ = searched(2e-2, patience=0)
    assert isinstance(result, DoesNotApply)


def test_same_rows_same_bytes() -> None:
    first, second = searched(1e-2)[0], searched(1e-2)[0]
    assert isinstance(first, Built)
    assert isinstance(second, Built)
    assert encode(clean(first.model)) == encode(clean(second.model))


def test_without_rows_to_search_on_it_does_not_apply() -> None:
    model = simplify_named(networks.classifier()).model
    result = FLAVORS["weights-mixed"](Source(model=model, calibration=FEEDS))
    assert isinstance(result, DoesNotApply)


def test_mixed_formats_lie_in_one_model() -> None:
    model = simplify_named(networks.classifier()).model
    names = [weight.name for weight in weights(model)]
    stored = store_weights(model, {names[0]: INT8, names[1]: INT5}, FEEDS)
    wanted = outputs_of(encode(model), UNSEEN)["probabilities"]
    got = outputs_of(encode(clean(stored)), UNSEEN)["probabilities"]
    assert np.abs(got - wanted).max() < 0.05
