"""A flavor on a board's terms: its onnxruntime, its memory, its operators."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from edgekit import board, golden, runtime
from edgekit.conversion import RuntimeProof
from edgekit.errors import BoardError
from edgekit.golden import Golden
from edgekit.manifest import Binding, OutputRole, TensorInput, TensorOutput, Tolerance
from edgekit_converters import environments
from edgekit_converters.environments import NoEnvironmentError, environment
from edgekit_converters.verdict.cap import capped
from edgekit_converters.verdict.fit import Need
from edgekit_converters.verdict.proof import Proof, Prover, Subject, prove, requirements
from tests.converters import networks
from tests.converters.extractions import outputs_of

pytestmark = pytest.mark.slow

_MB = 2**20
HERE = ".".join(runtime.version().split(".")[:2])
OURS = replace(board.load("gateway-256mb"), onnxruntime=HERE)
NEVER_RELEASED = replace(OURS, onnxruntime="1.99")
ROWS = networks.images(4)
BINDING = Binding(
    inputs=(
        TensorInput(
            name="image",
            dtype="float32",
            columns=("",),
            shape=(-1, 1, networks.SIDE, networks.SIDE),
        ),
    ),
    outputs=(
        TensorOutput(
            name="",
            tensor="probabilities",
            role=OutputRole.PREDICTION,
            dtype="float32",
            shape=(-1, networks.CLASSES),
        ),
    ),
)
MODEL = networks.classifier().SerializeToString()
with capped(64 * _MB) as group:
    CAN_CAP = group is not None


def subject(model: bytes = MODEL, *, wrong_by: float = 0.0) -> Subject:
    outputs = outputs_of(MODEL, {"image": ROWS})
    shifted = {name: values + np.float32(wrong_by) for name, values in outputs.items()}
    return Subject(
        flavor="fp32",
        model=model,
        session_options={},
        binding=BINDING,
        golden=golden.encode(Golden(inputs={"": ROWS}, outputs=shifted)),
        tolerance=Tolerance(rtol=1e-4, atol=1e-5),
    )


def proof(
    given: Subject, where: board.Board, how: RuntimeProof = RuntimeProof.NEVER
) -> Proof:
    return prove(given, where, how, lambda _: None)


def test_the_golden_rows_are_answered_under_the_board_s_runtime_and_its_cap() -> None:
    made = proof(subject(), OURS)
    assert made.passed
    assert made.sentence.startswith(
        f"loaded and answered the golden rows under onnxruntime {runtime.version()}, "
    )
    assert ("within a memory cap of 96 MB" in made.sentence) is CAN_CAP


def test_under_another_runtime_it_is_proven_in_an_environment_of_its_own() -> None:
    wanted = requirements("1.22")
    try:
        environment(wanted, lambda _: None)
    except NoEnvironmentError as error:
        pytest.skip(f"a package index is needed for onnxruntime 1.22: {error}")
    other = replace(OURS, onnxruntime="1.22")
    made = proof(subject(), other, RuntimeProof.ALWAYS)
    assert made.passed
    assert "golden rows under onnxruntime 1.22." in made.sentence


def test_a_runtime_that_cannot_be_had_leaves_the_schemas_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said: list[str] = []
    made = prove(subject(), NEVER_RELEASED, RuntimeProof.AUTO, said.append)
    assert made.passed
    assert made.sentence.startswith(
        "checked against the operator schemas of opset 17 only, and answered here"
    )
    assert "onnxruntime==1.99.*" in made.sentence
    assert any("no environment for board gateway-256mb" in line for line in said)


def test_an_environment_that_cannot_import_is_not_the_flavor_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    place = environments._place(requirements("1.99"), own, None)  # noqa: SLF001 - its cache
    broken = place / "bin" / "python"
    broken.parent.mkdir(parents=True)
    broken.write_text("#!/bin/sh\necho 'ImportError: no such symbol' >&2\nexit 1\n")
    broken.chmod(0o755)
    made = prove(subject(), NEVER_RELEASED, RuntimeProof.AUTO, lambda _: None)
    assert made.passed
    assert "installed, but broken: ImportError: no such symbol" in made.sentence


def test_who_insists_on_the_runtime_gets_no_schemas_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(
        BoardError, match=r"^board gateway-256mb: no proof under onnxruntime 1\.99: "
    ):
        proof(subject(), NEVER_RELEASED, RuntimeProof.ALWAYS)


def test_who_wants_no_proof_gets_no_environment() -> None:
    assert environments.cached(requirements("1.99")) is None
    made = proof(subject(), NEVER_RELEASED, RuntimeProof.NEVER)
    assert made.passed
    assert made.sentence.endswith("--prove-runtime never, " + made.sentence.split(", ")[-1])


def test_other_answers_than_the_golden_ones_are_refused() -> None:
    made = proof(subject(wrong_by=0.5), OURS)
    assert not made.passed
    assert made.sentence.startswith(f"under onnxruntime {HERE}: golden vectors: output")


@pytest.mark.skipif(not CAN_CAP, reason="no writable memory cgroup here: run as root")
def test_what_is_killed_under_the_board_s_memory_does_not_fit() -> None:
    made = proof(subject(), replace(OURS, model_ram_mb=8))
    assert not made.passed
    assert made.sentence.endswith("killed: it takes more memory than the 8 MB it may")


def test_an_operator_that_is_not_onnx_s_is_refused_before_anything_runs() -> None:
    node = helper.make_node("FusedConv", ["x"], ["y"], domain="com.microsoft")
    strange = networks.model([node], {}, inputs={"x": ["n"]}, outputs={"y": ["n"]})
    made = proof(subject(strange.SerializeToString()), OURS)
    assert not made.passed
    assert made.sentence.startswith("com.microsoft.FusedConv: no operator of ONNX")


def test_a_flavor_is_proven_once_for_a_board() -> None:
    said: list[str] = []
    prover = Prover([subject()], RuntimeProof.NEVER, said.append)
    need = Need(
        flavor="fp32",
        bundle_bytes=1,
        model_bytes=1,
        peak_rss_bytes=1,
        min_onnxruntime="1.16",
    )
    assert prover.refusal(OURS, need) == prover.refusal(OURS, need) == ""
    assert said == ["fp32: proving it for gateway-256mb"]
    assert not prover.refused(OURS, "fp32")
    assert prover.sentences()[0].startswith("gateway-256mb: fp32 loaded and answered")


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.22", ("onnxruntime==1.22.*", "numpy>=1.26")),
        ("1.22.1", ("onnxruntime==1.22.1", "numpy>=1.26")),
        ("1.18", ("onnxruntime==1.18.*", "numpy>=1.26,<2")),
    ],
)
def test_old_runtimes_come_with_the_numpy_they_were_built_for(
    version: str, expected: tuple[str, ...]
) -> None:
    assert requirements(version) == expected
