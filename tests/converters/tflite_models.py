"""Make small TFLite files, float and int8, of any number of rows and of one.

Runs in a process of its own: `python -m tests.converters.tflite_models FOLDER`. Beside each
file NAME.tflite lie the rows for it (NAME.rows.npy).
"""

import contextlib
import io
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from edgekit.table import Array

ROWS = 20
FORMS = ("float", "weights", "int8", "whole")  # whole: inputs and outputs are int8 too


def network(name: str, rows: int | None) -> tuple[Any, tuple[int, ...]]:
    """A network for any number of rows, or for one, and the shape of a row."""
    keras.utils.set_random_seed(5)
    steps, shape = {
        "classifier": ([layers.Dense(8, "relu"), layers.Dense(3, "softmax")], (4,)),
        "gelu": ([layers.Dense(8, "gelu"), layers.Dense(1)], (4,)),
        "images": (
            [
                layers.Conv2D(4, 3),
                layers.BatchNormalization(),
                layers.ReLU(),
                layers.DepthwiseConv2D(3),
                layers.MaxPooling2D(2),
                layers.Flatten(),
                layers.Dense(2),
            ],
            (8, 8, 1),
        ),
        "series": ([layers.LSTM(4, unroll=True), layers.Dense(1)], (5, 3)),
    }[name]
    return keras.Sequential([keras.Input(shape, batch_size=rows), *steps]), shape


def made(name: str, form: str = "float", rows: int | None = None) -> tuple[bytes, Array]:
    """The content of a file, and rows for it."""
    model, shape = network(name, rows)
    rng = np.random.default_rng(3)
    given = rng.normal(size=(ROWS, *shape)).astype(np.float32)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if form != "float":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if form in {"int8", "whole"}:
        converter.representative_dataset = partial(examples, given)
    if form == "whole":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        given = rng.integers(-100, 100, given.shape).astype(np.int8)
    with contextlib.redirect_stdout(io.StringIO()):
        return converter.convert(), given


def examples(rows: Array) -> Iterator[list[Array]]:
    for number in range(len(rows)):
        yield [rows[number : number + 1]]


def two_ways() -> bytes:
    """Two inputs and two outputs with names of their own."""
    one, two = keras.Input((4,), name="one"), keras.Input((2,), name="two")
    joined = layers.Concatenate()([layers.Dense(3)(one), two])
    model = keras.Model(
        [one, two], {"mean": layers.Dense(2)(joined), "spread": layers.Dense(1)(joined)}
    )
    with contextlib.redirect_stdout(io.StringIO()):
        return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def save(folder: Path, called: str, content: bytes, rows: Array) -> None:
    folder.joinpath(f"{called}.tflite").write_bytes(content)
    np.save(folder / f"{called}.rows.npy", rows)


if __name__ == "__main__":
    OUT = Path(sys.argv[1])
    for form_ in FORMS:
        save(OUT, f"images.{form_}", *made("images", form_))
    save(OUT, "classifier.float", *made("classifier"))
    save(OUT, "gelu.float", *made("gelu"))
    save(OUT, "one_row", *made("images", "int8", 1))
    save(OUT, "stuck", *made("series", "float", 1))
    OUT.joinpath("two_ways.tflite").write_bytes(two_ways())
