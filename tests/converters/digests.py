"""Build every flavor of models, searched ones too, and print what came out.

Runs in a process of its own: `python -m tests.converters.digests MODEL=ROWS ...` prints a
JSON object: model -> flavor -> note, findings and digest of its bytes, or a reason.
"""

import hashlib
import json
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

from edgekit.binding import results
from edgekit.conversion import ConversionRequest
from edgekit.manifest import ModelIdentity
from edgekit_converters.encoding import decode, encode
from edgekit_converters.flavors import FLAVORS, DoesNotApply, Source
from edgekit_converters.native.extract import extract
from edgekit_converters.passes import clean, simplify_named
from edgekit_converters.verdict.budget import Budget
from edgekit_converters.verdict.papers import Question, lay_out
from edgekit_converters.verdict.search import SampleSearch

HOURS_S = 36_000.0  # no search may run out of time here


def flavors(model: Path, samples: Path) -> dict[str, object]:
    """Return what each flavor came to, and the faithful model before it."""
    request = ConversionRequest(
        model_folder=model,
        identity=ModelIdentity(name="m", version="1", run_id="", source_sha256="00" * 32),
        boards=(),
        out=model.parent / "unused",
        samples=samples,
        trust_pickle=True,
    )
    with TemporaryDirectory() as workdir:
        extraction = extract(request, Path(workdir), lambda _: None)
    papers = lay_out(extraction, Question())
    simple = simplify_named(decode(extraction.model))
    search = SampleSearch(
        feeds=papers.search_feeds,
        drop_of=lambda raw: papers.search.drop(results(extraction.binding, raw)),
        max_drop=0.02,
        share=Budget(HOURS_S).share(1),
        progress=lambda _: None,
    )
    source = Source(
        model=simple.model,
        calibration=papers.search_feeds,
        search=search,
        names=simple.names,
    )
    found: dict[str, object] = {"extracted": _digest(extraction.model)}
    for flavor, build in FLAVORS.items():
        built = build(source)
        if isinstance(built, DoesNotApply):
            found[flavor] = built.reason
        else:
            facts = [[one.subject, one.fact, one.value] for one in built.findings]
            found[flavor] = [built.note, facts, _digest(encode(clean(built.model)))]
    return found


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    pairs = [argument.split("=") for argument in sys.argv[1:]]
    print(  # noqa: T201 - the answer to the test
        json.dumps({model: flavors(Path(model), Path(rows)) for model, rows in pairs})
    )
