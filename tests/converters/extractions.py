"""Extractions of small networks, as the converters' first half hands them over."""

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto

from edgekit.binding import Predictions
from edgekit.manifest import (
    Binding,
    OutputRole,
    RuntimeNeeds,
    Signature,
    TensorInput,
    TensorOutput,
)
from edgekit.runtime import Session
from edgekit_converters.extraction import Extraction, Task
from edgekit_converters.flavors.flavor import NO_OPTIONS
from tests.converters import networks

SIDE, CLASSES = networks.SIDE, networks.CLASSES


def outputs_of(
    model: bytes, feeds: dict[str, np.ndarray], options: Mapping[str, str] = NO_OPTIONS
) -> dict[str, np.ndarray]:
    """What onnxruntime answers, with no session options unless some are given."""
    needs = RuntimeNeeds(
        opsets={}, ir_version=8, min_onnxruntime="1.16", session_options=dict(options)
    )
    return Session.load(model, needs).run(feeds)


def of_classifier(
    *, rows: int = 250, model: ModelProto | None = None, true_labels: bool = False
) -> Extraction:
    """The small convolutional classifier; the original is the model itself."""
    model = model or networks.classifier()
    images = networks.images(rows)
    encoded = model.SerializeToString()
    answers = outputs_of(encoded, {"image": images})["probabilities"]
    return Extraction(
        model=encoded,
        binding=Binding(
            inputs=(
                TensorInput(
                    name="image", dtype="float32", columns=("",), shape=(-1, 1, SIDE, SIDE)
                ),
            ),
            outputs=(
                TensorOutput(
                    name="",
                    tensor="probabilities",
                    role=OutputRole.PREDICTION,
                    dtype="float32",
                    shape=(-1, CLASSES),
                ),
            ),
        ),
        signature=Signature(),
        samples={"": images},
        original=Predictions(prediction=answers),
        task=Task.OTHER,
        framework="onnx",
        predict="predict",
        source_bytes=len(encoded),
        labels=answers.argmax(axis=1) if true_labels else None,
        tools={"exporter": "1.0"},
    )
