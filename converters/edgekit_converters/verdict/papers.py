"""The rows of one conversion, laid out: what may be searched on, and what is judged on.

Knows the exam and the extraction, no flavor. The calibration rows of a file of their own
are answered by float32 ONNX, whose faithfulness the gate judges first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgekit.binding import Predictions, feeds, results
from edgekit.conversion import AUTO
from edgekit.errors import ConversionError, ProofError
from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session
from edgekit.table import Array, Table, rows, take
from edgekit_converters.extraction import Extraction
from edgekit_converters.flavors.batches import run
from edgekit_converters.verdict import answers
from edgekit_converters.verdict.compare import Comparison
from edgekit_converters.verdict.division import MOST_GATE, MOST_SEARCH
from edgekit_converters.verdict.exam import Exam, set_exam


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of every flavor; see ConversionRequest. `groups` is [rows]."""

    metric: str = AUTO
    score: str = answers.AUTO
    groups: Array | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Rows of a file of their own, and their true answers, if it holds such."""

    table: Table
    labels: Array | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """The exams on all rows, on those to search on and on those to judge on.

    `feeds` are ONNX inputs of all sample rows, `search_feeds` of the search's. `shared`
    when there are too few to divide; `sentence` says how they were divided.
    """

    feeds: Mapping[str, Array]
    search_feeds: Mapping[str, Array]
    whole: Exam
    search: Exam
    gate: Exam
    gate_rows: Array
    shared: bool
    sentence: str

    def judge(self, predictions: Predictions) -> Comparison:
        """Compare answers to all sample rows, looking at those of the gate only."""
        return self.gate.compare(answers.take(predictions, self.gate_rows))


def lay_out(
    extraction: Extraction,
    question: Question,
    *,
    calibration: Calibration | None = None,
) -> Papers:
    """Divide the rows; ConversionError when the question cannot be asked of them."""
    exam = set_exam(
        extraction, metric=question.metric, score=question.score, groups=question.groups
    )
    if calibration is not None:
        return _apart(extraction, exam, calibration)
    every = feeds(extraction.binding, extraction.samples)
    division = exam.divide()
    return Papers(
        feeds=every,
        search_feeds=take(every, division.search.tolist()),
        whole=exam,
        search=exam.take(division.search),
        gate=exam.take(division.gate),
        gate_rows=division.gate,
        shared=division.shared,
        sentence=division.sentence,
    )


def trimmed(extraction: Extraction, question: Question) -> tuple[Extraction, Question, str]:
    """Return both on no more rows than are ever looked at, and a sentence if some go."""
    number, most = rows(extraction.samples), MOST_GATE + MOST_SEARCH
    if number <= most or question.groups is not None:
        return extraction, question, ""
    numbers = _some(number, most)
    fewer = replace(
        extraction,
        samples=take(extraction.samples, numbers.tolist()),
        original=answers.take(extraction.original, numbers),
        labels=None if extraction.labels is None else extraction.labels[numbers],
    )
    return fewer, question, f"{most:,} of {number:,} rows are looked at, which is enough"


def _apart(extraction: Extraction, gate: Exam, calibration: Calibration) -> Papers:
    """Search on the calibration's rows, judge on all samples."""
    own = feeds(extraction.binding, calibration.table)
    numbers = _some(rows(own), MOST_SEARCH)
    own = take(own, numbers.tolist())
    labels = calibration.labels
    known = replace(
        extraction,
        samples=take(calibration.table, numbers.tolist()),
        original=_answers(extraction, own),
        labels=None if labels is None else labels[numbers],
    )
    metric = AUTO if labels is None and gate.metric.needs_truth else str(gate.metric)
    score = f"{'' if gate.score.high_is_positive else '-'}{gate.score.source}"
    return Papers(
        feeds=feeds(extraction.binding, extraction.samples),
        search_feeds=own,
        whole=gate,
        search=set_exam(known, metric=metric, score=score),
        gate=gate,
        gate_rows=np.arange(rows(extraction.samples)),
        shared=False,
        sentence=f"{len(numbers):,} calibration rows to search on, all samples to judge on",
    )


def _answers(extraction: Extraction, given: Mapping[str, Array]) -> Predictions:
    needs = RuntimeNeeds(opsets={}, ir_version=0, min_onnxruntime="")
    try:
        outputs = run(Session.load(extraction.model, needs), given)
    except ProofError as error:
        raise ConversionError(
            f"calibration: the model fails on its rows: {error}"
        ) from error
    return results(extraction.binding, outputs)


def _some(number: int, most: int) -> Array:
    """Return up to `most` row numbers at even steps."""
    return np.linspace(0, number - 1, min(number, most)).astype(np.int64)
