"""From a request to the exam: which rows, which question, and what was logged before.

Reads the files beside the samples (groups, calibration rows); judges nothing.
"""

from dataclasses import dataclass

from edgekit.conversion import ConversionRequest
from edgekit.errors import ConversionError
from edgekit_converters.extraction import Extraction
from edgekit_converters.intake import inputs, samples
from edgekit_converters.intake.labels import as_answers
from edgekit_converters.verdict.answers import columns
from edgekit_converters.verdict.metrics import Metric
from edgekit_converters.verdict.papers import (
    Calibration,
    Papers,
    Question,
    lay_out,
    trimmed,
)
from edgekit_converters.verdict.reproduction import Reproduction, reproduce

_SHARES = {  # what a reader who knows the metric by name would not expect
    Metric.RMSE: ", as a share of the true values' standard deviation",
    Metric.RELATIVE_ERROR: ", a share of the standard deviation of the original's answers",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What all flavors of one request are asked, on no more rows than needed.

    `notes` are sentences for the person who converts.
    """

    extraction: Extraction
    papers: Papers
    reproduction: Reproduction | None
    notes: tuple[str, ...]


def ask(request: ConversionRequest, extraction: Extraction) -> Asked:
    """Lay out the rows; ConversionError for a question that cannot be asked of them."""
    extraction, question, trimming = trimmed(extraction, _question(request))
    papers = lay_out(extraction, question, calibration=_calibration(request, extraction))
    found = reproduce(papers.whole, request.logged_metrics, request.logged_metric)
    metric = f"judged by {papers.whole.metric}" + (" (auto)" if _auto(question) else "")
    metric += _SHARES.get(papers.whole.metric, "")
    said = "" if found is None else found.sentence
    remark = papers.whole.remark
    notes = (*extraction.notes, said, metric, remark, trimming, papers.sentence)
    return Asked(
        extraction=extraction,
        papers=papers,
        reproduction=found,
        notes=tuple(note for note in notes if note),
    )


def _auto(question: Question) -> bool:
    return question.metric == Question().metric


def _question(request: ConversionRequest) -> Question:
    groups = None
    if request.group is not None:
        if request.samples is None:
            raise ConversionError(
                f"group {request.group}: it is a column of the samples, pass --samples"
            )
        groups = samples.column(request.samples, request.group)
    return Question(metric=request.metric, score=request.score, groups=groups)


def _calibration(request: ConversionRequest, extraction: Extraction) -> Calibration | None:
    """Read the calibration rows; their true answers too, if the file has them."""
    if request.calibration is None:
        return None
    takes = inputs.from_signature(extraction.signature)
    if takes is None:
        raise ConversionError(
            f"{request.calibration.name}: the model has no signature to read it by; leave"
            " out --calibration, so that --samples are divided"
        )
    names = samples.names(request.calibration)
    found = samples.from_file(
        request.calibration,
        takes,
        request.target if request.target in names else None,
        aside=[request.group] if request.group in names and request.group else [],
    )
    answer = columns(extraction.original)[:, 0]
    return Calibration(table=found.table, labels=as_answers(found.labels, answer))
