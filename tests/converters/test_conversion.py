import json
import os
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit import binding, board, bundle, golden
from edgekit.conversion import Candidate, Conversion, ConversionRequest, installed
from edgekit.errors import BoardError, ConfigError, ConversionError, ProofError
from edgekit.manifest import Manifest, ModelIdentity
from edgekit.runtime import Session
from edgekit.telemetry.drift import compare
from edgekit.telemetry.profile import Profile
from edgekit.telemetry.tally import Tally, answer_table
from edgekit_converters.conversion import convert, convert_extraction
from edgekit_converters.flavors import FLAVORS
from tests.converters import extractions, networks

pytestmark = pytest.mark.slow

IDENTITY = ModelIdentity(name="signs", version="3", run_id="f00d", source_sha256="ab" * 32)
FILES = [
    "MLmodel",
    "golden.json",
    "manifest.json",
    "model.onnx",
    "names.json",
    "profile.json",
    "requirements.txt",
]


def request(out: Path, **changes: object) -> ConversionRequest:
    plain = ConversionRequest(
        model_folder=out.parent / "no-such-model",
        identity=IDENTITY,
        boards=(board.load("raspberry-pi-zero-2-w"),),
        out=out,
        quantize=True,
        max_drop=0.03,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # fields by name


def silent(_: str) -> None:
    pass


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def by_flavor(conversion: Conversion) -> dict[str, Candidate]:
    return {one.flavor: one for one in conversion.candidates}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    out = tmp_path_factory.mktemp("conversion") / "flavors"
    return convert_extraction(request(out), extractions.of_classifier(), silent)


def test_every_flavor_is_tried_and_each_kept_one_lies_in_its_folder(
    converted: Conversion,
) -> None:
    flavors = [one.flavor for one in converted.candidates]
    assert flavors == list(FLAVORS)
    kept = [one for one in converted.candidates if one.accepted]
    out = converted.report_json.parent
    assert names(out) == sorted([*(k.flavor for k in kept), "report.html", "report.json"])
    for one in kept:
        assert one.folder == out / one.flavor
        assert names(one.folder) == FILES


def test_the_smallest_kept_flavor_is_chosen_for_the_board(converted: Conversion) -> None:
    kept = [one for one in converted.candidates if one.accepted]
    smallest = min(kept, key=lambda one: one.bundle_bytes + one.model_bytes)
    assert converted.choices == {"raspberry-pi-zero-2-w": smallest.flavor}
    assert smallest.flavor not in {"fp32", "fp16"}
    assert smallest.boards == ("raspberry-pi-zero-2-w",)


def test_the_short_names_inside_a_flavor_lead_back_to_the_originals(
    converted: Conversion,
) -> None:
    for one in converted.candidates:
        if one.folder is None:
            continue
        said = json.loads((one.folder / "names.json").read_bytes())
        graph = onnx.load(one.folder / "model.onnx").graph
        inside = {name for node in graph.node for name in node.output}
        assert inside & said.keys()
        assert networks.inner("conv1") in said.values() or one.flavor == "int8-static"


def test_the_manifest_on_disk_describes_the_files_beside_it(converted: Conversion) -> None:
    for one in converted.candidates:
        if one.folder is None:
            continue
        manifest = Manifest.from_json((one.folder / "manifest.json").read_bytes())
        assert manifest == one.manifest
        members = {name: (one.folder / name).read_bytes() for name in manifest.files}
        packed = bundle.pack(manifest, members)
        assert len(packed) == one.bundle_bytes
        assert bundle.read_members(BytesIO(packed)) == (manifest, members)
        assert manifest.footprint.model_bytes == len(members["model.onnx"])
        assert manifest.runtime.opsets == {"": 17}
        assert manifest.runtime.min_onnxruntime == "1.13"


def test_every_bundle_holds_one_profile_of_the_originals_answers(
    converted: Conversion,
) -> None:
    extraction = extractions.of_classifier()
    folders = [one.folder for one in converted.candidates if one.folder is not None]
    told = {(folder / "profile.json").read_bytes() for folder in folders}
    assert len(told) == 1
    profile = Profile.from_json(told.pop())
    assert (profile.source, profile.rows) == ("input example", converted.samples)
    (column,) = {one.name.partition("[")[0] for one in profile.inputs}
    assert column in extraction.samples
    assert [sum(one.histogram) for one in profile.outputs] == [profile.rows] * len(
        profile.outputs
    )
    assert any(note.startswith("reference profile: ") for note in converted.notes)


def test_a_device_that_counts_the_reference_rows_finds_the_reference(
    converted: Conversion,
) -> None:
    folder = converted.report_json.parent / "fp32"
    manifest = Manifest.from_json((folder / "manifest.json").read_bytes())
    profile = Profile.from_json((folder / "profile.json").read_bytes())
    samples = extractions.of_classifier().samples
    session = Session.load(folder / "model.onnx", manifest.runtime)
    raw = session.run(binding.feeds(manifest.binding, samples))
    answered = binding.results(manifest.binding, raw)
    for columns, told in (
        (profile.inputs, samples),
        (profile.outputs, answer_table(answered)),
    ):
        tally = Tally(columns)
        tally.add({name: np.asarray(array) for name, array in told.items()})
        for column, seen in zip(columns, tally.take(), strict=True):
            assert sum(seen) == sum(column.histogram), column.name
            assert compare(column, seen).psi < 0.01, column.name


def test_data_that_must_not_leave_even_as_quantiles_do_not(tmp_path: Path) -> None:
    asked = request(tmp_path / "out", quantize=False, profile=False)
    conversion = convert_extraction(asked, extractions.of_classifier(), silent)
    assert names(tmp_path / "out" / "fp32") == [f for f in FILES if f != "profile.json"]
    assert conversion.candidates[0].manifest is not None
    assert "profile.json" not in conversion.candidates[0].manifest.files
    assert any("(--no-profile)" in note for note in conversion.notes)


def test_each_flavor_proves_itself_with_its_own_golden_vectors(
    converted: Conversion,
) -> None:
    proven = 0
    for one in converted.candidates:
        if one.folder is None or one.manifest is None:
            continue
        vectors = golden.decode((one.folder / "golden.json").read_bytes())
        session = Session.load(one.folder / "model.onnx", one.manifest.runtime)
        answers = session.run(binding.feeds(one.manifest.binding, vectors.inputs))
        golden.compare(vectors, answers, one.manifest.tolerance)
        broken = {name: values * np.float32(0.7) for name, values in answers.items()}
        with pytest.raises(ProofError):
            golden.compare(vectors, broken, one.manifest.tolerance)
        proven += 1
    assert proven >= 3


def test_the_manifest_records_every_candidate_and_every_tool(
    converted: Conversion,
) -> None:
    manifest = by_flavor(converted)["int8"].manifest
    assert manifest is not None
    record = manifest.conversion
    assert record["task"] == "other"
    assert record["samples"] == 250
    tried = record["candidates"]
    assert isinstance(tried, list)
    assert [entry["flavor"] for entry in tried] == list(FLAVORS)
    assert {"edgekit", "exporter", "numpy", "onnx", "onnxruntime"} <= manifest.tools.keys()


def test_nothing_on_disk_names_this_machine_or_the_time(converted: Conversion) -> None:
    out = converted.report_json.parent
    for path in out.rglob("*.json"):
        text = path.read_text("utf-8")
        assert str(out) not in text
        assert os.uname().nodename not in text
        assert "/tmp" not in text  # noqa: S108 - looked for, not used


def test_without_quantize_only_float32_is_made(tmp_path: Path) -> None:
    plain = request(tmp_path / "out", quantize=False)
    conversion = convert_extraction(plain, extractions.of_classifier(rows=40), silent)
    assert [one.flavor for one in conversion.candidates] == ["fp32"]
    assert conversion.choices == {"raspberry-pi-zero-2-w": "fp32"}


def test_a_flavor_that_changes_too_many_labels_is_refused_and_not_written(
    tmp_path: Path,
) -> None:
    coarse = networks.classifier(undecided=True)
    strict = request(tmp_path / "out", max_drop=0.005)
    conversion = convert_extraction(strict, extractions.of_classifier(model=coarse), silent)
    refused = [
        one
        for one in conversion.candidates
        if not one.accepted and one.flavor != "fp32-trees"  # there are none in it
    ]
    assert "int8" in {one.flavor for one in refused}
    for one in refused:
        if not one.reason.startswith("does not apply"):
            assert one.reason.startswith(("less accurate: ", "not enough samples: "))
            assert "of at most 0.005" in one.reason
        assert one.folder is None
        assert not (tmp_path / "out" / one.flavor).exists()


def test_an_onnx_form_that_answers_otherwise_is_an_error_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    faithful = extractions.of_classifier(rows=60)
    other = networks.classifier(seed=8).SerializeToString()
    with pytest.raises(ConversionError, match="does not answer as the original does"):
        convert_extraction(
            request(tmp_path / "out"), replace(faithful, model=other), silent
        )
    assert names(tmp_path) == []


def test_a_board_that_nothing_fits_is_told_by_how_much_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    tiny = replace(board.load("gateway-256mb"), name="tiny", model_ram_mb=20)
    with pytest.raises(BoardError, match=r"board tiny: no flavor fits; .* MB too much\)"):
        convert_extraction(
            request(tmp_path / "out", boards=(tiny,), quantize=False),
            extractions.of_classifier(rows=40),
            silent,
        )
    assert names(tmp_path) == []


def test_a_model_that_no_runtime_can_run_is_an_error(tmp_path: Path) -> None:
    unknown = networks.classifier()
    unknown.graph.node[0].op_type = "Convolve"
    faithful = extractions.of_classifier(rows=40)
    with pytest.raises(ConversionError, match="fp32: the ONNX form does not run: "):
        convert_extraction(
            request(tmp_path / "out"),
            replace(faithful, model=unknown.SerializeToString()),
            silent,
        )
    assert names(tmp_path) == []


def test_a_folder_with_other_files_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match=r"holds thesis\.tex"):
        convert(request(tmp_path), silent)
    assert names(tmp_path) == ["thesis.tex"]


def test_the_installed_converter_is_this_one() -> None:
    assert installed() is convert


PRINT_DIGESTS = """
import hashlib, sys
from pathlib import Path
from tests.converters import extractions
from tests.converters.test_conversion import request, silent
from edgekit_converters.conversion import convert_extraction
out = Path(sys.argv[1])
convert_extraction(request(out), extractions.of_classifier(rows=60), silent)
for path in sorted(out.rglob("*")):
    if path.name in ("model.onnx", "golden.json"):
        print(path.relative_to(out), hashlib.sha256(path.read_bytes()).hexdigest())
"""


def test_two_processes_with_other_hash_seeds_write_the_same_bytes(tmp_path: Path) -> None:
    said = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", PRINT_DIGESTS, str(tmp_path / seed)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(done.stdout)
    assert said[0] == said[1]
    assert said[0].count("model.onnx") >= 2


def test_only_what_was_measured_differs_between_two_conversions(
    converted: Conversion, tmp_path: Path
) -> None:
    again = convert_extraction(
        request(tmp_path / "out"), extractions.of_classifier(), silent
    )
    for first, second in zip(converted.candidates, again.candidates, strict=True):
        assert _unmeasured(first) == _unmeasured(second)


def _unmeasured(one: Candidate) -> object:
    if one.manifest is None:
        return one.flavor, one.accepted, one.reason
    document = json.loads(one.manifest.to_json())
    del document["footprint"]
    for entry in document["conversion"]["candidates"]:
        entry.pop("measured", None)
    return document
