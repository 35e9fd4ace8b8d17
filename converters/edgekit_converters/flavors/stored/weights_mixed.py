"""The weights-mixed flavor: each weight in the fewest bits that the answers allow.

First all weights take the smallest format with which the drop on the rows of the search
is allowed. From there, those go one format further that change the answers least for the
bytes they save, as many as lose at most half of what is allowed, as what is best on some
rows is never quite so on others; and so on with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto

from edgekit.table import Array
from edgekit_converters.flavors.flavor import Built, DoesNotApply, Finding, Search, Source
from edgekit_converters.flavors.stored.compensation import round_weights, unfolded
from edgekit_converters.flavors.stored.formats import INT3, INT4, INT5, INT6, INT8, Format
from edgekit_converters.flavors.stored.layers import activations
from edgekit_converters.flavors.stored.layout import is_heavy, unfolding_options
from edgekit_converters.flavors.stored.storing import MIN_OPSET, storable, store_weights
from edgekit_converters.flavors.stored.weights import Weight, counted

_LADDER = (INT8, INT6, INT5, INT4, INT3)
_FIRST = INT5  # where to begin: allowed more often than not
_SPARE_LADDER = (INT8, INT4)  # of models whose weights must unfold in little memory
_FLOAT_BITS = 32
_AIM = 0.5  # of the allowed drop
_Plan = Mapping[str, Format]


def build(source: Source) -> Built | DoesNotApply:
    """Return the model with each weight in a format of its own."""
    opset = max((o.version for o in source.model.opset_import if not o.domain), default=0)
    chosen = storable(source.model, INT8)
    if opset < MIN_OPSET:
        return DoesNotApply(reason=f"opset {opset}, unpacking needs {MIN_OPSET}")
    if source.search is None or len(chosen) < 2:  # noqa: PLR2004 - one is not mixed
        return DoesNotApply(reason="it takes two weights or more, and rows to search on")
    descent = _Descent(source, source.search, chosen)
    descent.together()
    while descent.apart():
        pass
    if not descent.plan:
        return DoesNotApply(reason="even one weight in int8 loses more than is allowed")
    model = descent.stored(descent.plan)
    return Built(
        model=model,
        note=_told(descent.plan),
        session_options=unfolding_options(model),
        findings=descent.findings(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One weight a format further down: what it saves, and what it changes alone.

    `error` is the root mean square of the change, in standard deviations of the answers.
    """

    name: str
    form: Format
    saved_bits: float
    error: float


class _Descent:
    """The plan so far, and what was learned on the way."""

    def __init__(self, source: Source, search: Search, chosen: Sequence[Weight]) -> None:
        self.plan: _Plan = {}
        self._source, self._search = source, search
        self._sizes = {weight.name: int(weight.values.size) for weight in chosen}
        heavy = is_heavy(source.model, sum(self._sizes.values()))
        self._ladder = _SPARE_LADDER if heavy else _LADDER
        self._open = tuple(self._sizes)
        self._rung = -1  # of the ladder; -1 is float32
        self._steps: dict[str, _Step] = {}
        self._outputs = self._answers(source.model)

    def together(self) -> None:
        """Take all weights down as far as is allowed."""
        rung, step = self._ladder.index(_FIRST) if _FIRST in self._ladder else 0, 0
        while 0 <= rung < len(self._ladder) and not self._search.spent():
            form = self._ladder[rung]
            self._search.progress(f"all weights as {form.name}")
            plan = dict.fromkeys(self._sizes, form)
            fine = self._allowed(plan, self._search.max_drop)
            if fine:
                self.plan, self._rung = plan, rung
            if step == 0:
                step = 1 if fine else -1
            elif fine == (step < 0):  # the border between what is allowed and what is not
                return
            rung += step

    def apart(self) -> bool:
        """Take as many weights as is allowed one format further; whether any were."""
        if self._rung + 1 == len(self._ladder) or self._search.spent():
            return False
        form = self._ladder[self._rung + 1]
        steps = [self._step(name, form) for name in self._open]
        self._steps.update({step.name: step for step in steps})
        steps.sort(key=lambda step: step.error**2 / step.saved_bits)
        taken = self._most(steps)
        self.plan = self._with(steps[:taken])
        self._open = tuple(step.name for step in steps[:taken])
        self._rung += 1
        return taken > 0

    def stored(self, plan: _Plan) -> ModelProto:
        """Return the model with the weights of a plan as codes."""
        return store_weights(self._source.model, plan, self._source.calibration)

    def findings(self) -> tuple[Finding, ...]:
        """Tell of each weight how it is stored, and what stands against fewer bits."""
        return tuple(self._finding(name) for name in self._sizes)

    def _most(self, steps: Sequence[_Step]) -> int:
        """Return how many of the first steps can be taken, by halving."""
        fine, too_many = 0, len(steps) + 1
        while too_many - fine > 1 and not self._search.spent():
            middle = (fine + too_many) // 2
            self._search.progress(
                f"{middle} of {len(steps)} weights as {steps[0].form.name}"
            )
            limit = _AIM * self._search.max_drop
            if self._allowed(self._with(steps[:middle]), limit):
                fine = middle
            else:
                too_many = middle
        return fine

    def _with(self, steps: Sequence[_Step]) -> _Plan:
        return {**self.plan, **{step.name: step.form for step in steps}}

    def _allowed(self, plan: _Plan, limit: float) -> bool:
        stored = self.stored(plan)
        return self._search.drop(stored, unfolding_options(stored)) <= limit

    def _step(self, name: str, form: Format) -> _Step:
        before = self.plan.get(name)
        bits = _FLOAT_BITS if before is None else before.bits
        return _Step(
            name=name,
            form=form,
            saved_bits=self._sizes[name] * (bits - form.bits),
            error=self._error(name, form),
        )

    def _error(self, name: str, form: Format) -> float:
        model = self._source.model
        alone = round_weights(model, {name: form}, self._source.calibration)
        changed = self._answers(unfolded(model, alone))
        errors = [
            float(np.mean((changed[output] - wanted) ** 2) / max(np.var(wanted), 1e-30))
            for output, wanted in self._outputs.items()
        ]
        return float(np.sqrt(np.mean(errors))) if errors else 0.0

    def _answers(self, model: ModelProto) -> Mapping[str, Array]:
        outputs = [
            value.name
            for value in model.graph.output
            if value.type.tensor_type.elem_type == TensorProto.FLOAT
        ]
        return activations(model, outputs, self._source.calibration)

    def _finding(self, name: str) -> Finding:
        subject = self._source.original_name(name)
        form = self.plan.get(name)
        kept = form.name if form else "float32"
        fact = f"{counted(self._sizes[name], 'weight')} as {kept}"
        step = self._steps.get(name)
        if step is None:
            return Finding(subject=subject, fact=fact)
        fact += f"; as {step.form.name} it alone moves the answers by {step.error:.2%}"
        return Finding(subject=subject, fact=f"{fact} of their spread", value=step.error)


def _told(plan: _Plan) -> str:
    counts = {form.name: 0 for form in _LADDER}
    for form in plan.values():
        counts[form.name] += 1
    return ", ".join(
        f"{counted(count, 'weight')} as {name}" for name, count in counts.items() if count
    )
