"""Which columns the labels of a booster belong to. Knows no ONNX and no text format.

LightGBM lists the categories of pandas's columns in their order, and not of which columns:
every column of categories has a list, also one that was trained on as numbers or never
differed, and a column of plain numbers can be told to be categorical. So every way to lay
the lists on the columns, in order, is judged by what training saw of each column and by
the samples, and one must bear them out better than all others. A sample with a category
that training did not see, a number for "missing" say, speaks against the right way: so what
the text says is categorical is outvoted only by samples that hold every category.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from edgekit.errors import ConversionError
from edgekit.table import Array, Table
from edgekit_converters.frameworks.boosting.boosted import Boosted, Span
from edgekit_converters.frameworks.boosting.boosted_labels import labels
from edgekit_converters.intake.inputs import Field, Inputs

_Known = tuple[object, ...]
_SHOWN = 4  # categories of a list, in a message


def guessed(boosted: Boosted) -> Boosted:
    """Return it with the labels that training alone makes likely: for a first reading.

    ConversionError where no way to lay them on the columns is possible.
    """
    return _with_labels(boosted, _best(boosted, _offers(boosted, None, None)).places)


def settled(boosted: Boosted, takes: Inputs, table: Table) -> Boosted:
    """Return it with the labels that the columns' types and values bear out.

    ConversionError where no way does, or where two do as well and would answer otherwise.
    """
    if not boosted.listed:
        return boosted
    values = [table[name] for name in takes.names]
    offers = _offers(boosted, takes.fields, values)
    best = _best(boosted, offers)
    rival = _rival(boosted, offers, best, values)
    if rival is not None:
        number, here, there = next(
            (number, *pair)
            for number, pair in enumerate(zip(best.places, rival.places, strict=True))
            if pair[0] != pair[1]
        )
        raise ConversionError(
            f"LightGBM: the categories {_told(boosted.listed[number])} are those of column"
            f" {takes.names[here]} or {takes.names[there]}, which neither its text nor the"
            " samples tell; give samples that hold every category, or train with texts as"
            " categories"
        )
    return _with_labels(boosted, best.places)


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to lay the lists on columns; the fewer strangers and oddities the likelier.

    `strangers` are values of the samples that training did not see, `oddities` columns
    that were told to be categorical without a list, or have one and were not.
    """

    strangers: int
    oddities: int
    places: tuple[int, ...]  # the column of each list so far


def _by_strangers(way: _Way) -> tuple[int, int]:
    return way.strangers, way.oddities


def _by_oddities(way: _Way) -> tuple[int, int]:
    return way.oddities, way.strangers


@dataclass(frozen=True, slots=True)
class _Offer:
    """What it costs to read a column as it is, or by list `n`; None: impossible."""

    plain: int | None
    listed: tuple[int | None, ...]


def _with_labels(boosted: Boosted, places: Sequence[int]) -> Boosted:
    return replace(
        boosted,
        labels=tuple(
            labels(place, boosted.names[place], known)
            for place, known in zip(places, boosted.listed, strict=True)
        ),
    )


def _best(boosted: Boosted, offers: Sequence[_Offer]) -> _Way:
    best = _cheapest(boosted, offers, by=_by_strangers, other_than=None)
    if best is None:
        shown = ", ".join(_told(known) for known in boosted.listed)
        raise ConversionError(
            f"LightGBM: {len(boosted.listed)} lists of pandas's categories ({shown}) fit no"
            " columns, in their order, of those it was trained on; log it with its columns"
            " in their types, or train with an OrdinalEncoder before it"
        )
    return best


def _rival(
    boosted: Boosted, offers: Sequence[_Offer], best: _Way, values: Sequence[Array]
) -> _Way | None:
    """Return a way with other effects that is as likely as the best, if there is one.

    As likely is what the samples speak against no more. And also what the text speaks
    against no more, unless what the two differ in is borne out by columns that hold their
    lists whole. A column that never differed bears out nothing, and speaks against a way
    only where the text does, too.
    """
    effects = _effects(boosted, best.places)
    rival = _cheapest(boosted, offers, by=_by_strangers, other_than=effects)
    if rival is None or rival.strangers <= best.strangers:
        return rival
    rival = _cheapest(boosted, offers, by=_by_oddities, other_than=effects)
    if rival is None or rival.oddities > best.oddities:
        return None
    even = rival.oddities == best.oddities
    whole = [
        boosted.spans[here].used and _among(known) <= set(values[here].tolist())
        for known, here, there in zip(
            boosted.listed, best.places, rival.places, strict=True
        )
        if here != there and (boosted.spans[here].used or not even)
    ]
    return None if whole and all(whole) else rival


def _offers(
    boosted: Boosted, fields: Sequence[Field] | None, values: Sequence[Array] | None
) -> list[_Offer]:
    """Return an offer for each column; without fields and values, by training alone."""
    found = []
    for feature, span in enumerate(boosted.spans):
        field = None if fields is None else fields[feature]
        given = None if values is None else values[feature]
        plain = None if field and not field.numeric else _beyond(span, given)
        listed = tuple(_unknown(known, span, field, given) for known in boosted.listed)
        found.append(_Offer(plain, listed))
    return found


def _beyond(span: Span, values: Array | None) -> int:
    """Return how many values lie outside of what training saw; missing ones do not."""
    if values is None or not span.used:
        return 0
    numbers = np.asarray(values, dtype=np.float64)
    return int(((numbers < span.low) | (numbers > span.high)).sum())


def _unknown(
    known: _Known, span: Span, field: Field | None, values: Array | None
) -> int | None:
    """Return how many values are no such category; None if it cannot be the column's."""
    texts = any(isinstance(value, str) for value in known)
    codes = set(map(float, range(len(known))))
    if (field and field.numeric == texts) or (
        span.used and not {span.low, span.high} <= codes
    ):
        return None
    if values is None:
        return 0
    column = pd.Series(values if texts else np.asarray(values, dtype=np.float64))
    return int((column.notna() & ~column.isin(list(_among(known)))).sum())


def _among(known: _Known) -> set[object]:
    """Return the categories as a column holds them: texts, or float64."""
    if any(isinstance(value, str) for value in known):
        return set(known)
    return {float(value) for value in known if isinstance(value, (bool, int, float))}


def _cheapest(
    boosted: Boosted,
    offers: Sequence[_Offer],
    *,
    by: Callable[[_Way], tuple[int, int]],
    other_than: Sequence[_Known | None] | None,
) -> _Way | None:
    """Return the cheapest way, if one is possible: of those with other effects, if given.

    Walks the columns; of all ways that used as many lists, only the cheapest go on.
    """
    ways = {(0, other_than is None): _Way(0, 0, ())}
    for feature, offer in enumerate(offers):
        further: dict[tuple[int, bool], _Way] = {}
        for (used, apart), way in ways.items():
            for step, cost in enumerate((offer.plain, *offer.listed[used : used + 1])):
                if cost is None:
                    continue
                odd = boosted.spans[feature].categorical != bool(step)
                places = (*way.places, feature) if step else way.places
                fresh = _Way(way.strangers + cost, way.oddities + odd, places)
                effect = _effect(boosted, feature, used if step else None)
                now_apart = apart or (
                    other_than is not None and effect != other_than[feature]
                )
                held = further.get(key := (used + step, now_apart))
                if held is None or by(fresh) < by(held):
                    further[key] = fresh
        ways = further
    return ways.get((len(boosted.listed), True))


def _effects(boosted: Boosted, places: Sequence[int]) -> list[_Known | None]:
    numbers = {place: number for number, place in enumerate(places)}
    return [
        _effect(boosted, feature, numbers.get(feature))
        for feature in range(boosted.features)
    ]


def _effect(boosted: Boosted, feature: int, number: int | None) -> _Known | None:
    """Return the list that a column is read by, None if it makes no difference.

    Categories that are their own numbers change none that training saw, and what no split
    asks changes nothing.
    """
    if number is None or not boosted.spans[feature].used:
        return None
    known = boosted.listed[number]
    return None if known == tuple(range(len(known))) else known


def _told(known: _Known) -> str:
    texts = [str(value) for value in known[:_SHOWN]]
    return "[" + ", ".join(texts + ["…"] * (len(known) > _SHOWN)) + "]"
