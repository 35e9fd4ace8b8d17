"""Train tiny networks and save them in every form that Keras and TensorFlow have had.

Runs in a process of its own: `python -m tests.converters.keras_models FOLDER`. Beside each
model NAME lie the rows it was asked (NAME.rows.npz) and its answers (NAME.answers.npz).
"""

import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]  # it ships none
import keras
import numpy as np
import tensorflow as tf
from keras import layers
from tensorflow.core.protobuf import saved_model_pb2

from edgekit.table import Array

RNG = np.random.default_rng(3)
ROWS = RNG.normal(size=(40, 4)).astype(np.float32)
# Values at which float32 activations saturate or vanish.
AWKWARD = np.array(
    [[0, 0, 0, 0], [60, -60, 60, -60], [1e-30, -1e-30, 1e-38, -0.0]], dtype=np.float32
)
EDGES = np.concatenate([ROWS, AWKWARD])
IMAGES = RNG.normal(size=(6, 8, 8, 1)).astype(np.float32)
SERIES = RNG.normal(size=(6, 5, 3)).astype(np.float32)
WORDS = RNG.integers(0, 10, (6, 4)).astype(np.int32)


def networks() -> dict[str, tuple[Any, list[Array]]]:
    keras.utils.set_random_seed(5)
    scaled = layers.Normalization()
    scaled.adapt(ROWS * 3 + 1)
    one, two = keras.Input((4,), name="one"), keras.Input((2,), name="two")
    joined = layers.Concatenate()([layers.Dense(3)(one), two])
    ends = [layers.Dense(2, name="mean")(joined), layers.Dense(1, name="spread")(joined)]
    return {
        "classifier": (
            network((4,), layers.Dense(8, "relu"), layers.Dense(3, "softmax")),
            [EDGES],
        ),
        "never_built": (built_by_use(), [EDGES]),
        "gelu": (network((4,), scaled, layers.Dense(8, "gelu"), layers.Dense(1)), [EDGES]),
        "curved": (
            network(
                (4,),
                layers.Dense(6, "celu"),
                layers.LayerNormalization(),
                layers.Dense(6, "mish"),
                layers.PReLU(),
                layers.Dense(1, "softplus"),
            ),
            [EDGES],
        ),
        "two_ways": (keras.Model([one, two], ends), [EDGES, EDGES[:, :2]]),
        "images": (
            network(
                (8, 8, 1),
                layers.Conv2D(4, 3),
                layers.BatchNormalization(),
                layers.ReLU(),
                layers.DepthwiseConv2D(3),
                layers.GlobalAveragePooling2D(),
                layers.Dropout(0.5),
                layers.Dense(2, "sigmoid"),
            ),
            [IMAGES],
        ),
        "series": (network((5, 3), layers.LSTM(4), layers.Dense(1)), [SERIES]),
        "any_length": (network((None, 3), layers.GRU(4), layers.Dense(1)), [SERIES]),
        "every_step": (
            network((None, 3), layers.GRU(4, return_sequences=True)),
            [SERIES],
        ),
        "recurrent": (recurrent(), [SERIES]),
        "signals": (
            network(
                (5, 3),
                layers.Conv1D(4, 3, padding="causal"),
                layers.SeparableConv1D(4, 2),
                layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
                layers.GlobalMaxPooling1D(),
            ),
            [SERIES],
        ),
        "padded": (padded(), [np.where(np.arange(4) < 2, WORDS + 1, 0).astype(np.int32)]),
        "attention": (attentive(), [SERIES]),
        "words": (
            keras.Sequential(
                [
                    keras.Input((4,), dtype="int32"),
                    layers.Embedding(10, 3),
                    layers.Flatten(),
                    layers.Dense(1),
                ]
            ),
            [WORDS],
        ),
    }


def network(shape: tuple[int | None, ...], *steps: Any) -> Any:  # noqa: ANN401 - Keras has no types
    return keras.Sequential([keras.Input(shape), *steps])


def recurrent() -> Any:  # noqa: ANN401 - Keras has no types
    """All that can be said of a recurrent layer, one after another."""
    series = keras.Input((None, 3))
    both = layers.Bidirectional(layers.GRU(3, return_sequences=True))(series)
    before = layers.GRU(4, reset_after=False, return_sequences=True)(both)
    plain = layers.SimpleRNN(4, return_sequences=True, go_backwards=True)(before)
    backwards = layers.GRU(2, activation="relu", use_bias=False, go_backwards=True)
    ends = [
        layers.GRU(4)(plain),
        backwards(plain),
        layers.Bidirectional(layers.LSTM(3))(plain),
    ]
    return keras.Model(series, layers.Concatenate()(ends))


def padded() -> Any:  # noqa: ANN401 - Keras has no types
    """Words of which some are padding, which the steps must not see."""
    return keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            layers.Embedding(11, 3, mask_zero=True),
            layers.LSTM(4),
            layers.Dense(1),
        ]
    )


def attentive() -> Any:  # noqa: ANN401 - Keras has no types
    series = keras.Input((5, 3))
    seen = layers.MultiHeadAttention(2, 4)(series, series, use_causal_mask=True)
    return keras.Model(series, layers.GlobalAveragePooling1D()(series + seen))


def built_by_use() -> Any:  # noqa: ANN401 - Keras has no types
    model = keras.Sequential([layers.Dense(8, "tanh"), layers.Dense(1)])
    model(ROWS)
    return model


def trained(model: Any, rows: list[Array]) -> Any:  # noqa: ANN401 - Keras has no types
    """Fit for one step with an optimizer that keeps slots."""
    wanted = model.predict(given(rows), verbose=0)
    model.compile("adam", "mse")
    model.fit(given(rows), wanted, verbose=0)
    return model


def given(rows: list[Array]) -> Any:  # noqa: ANN401 - one array or several
    return rows if len(rows) > 1 else rows[0]


def record(folder: Path, name: str, rows: dict[str, Array], answers: Any) -> None:  # noqa: ANN401
    flat = answers if isinstance(answers, list) else [answers]
    np.savez(folder / f"{name}.rows.npz", allow_pickle=False, **rows)
    numbered = {f"answer{n}": np.asarray(answer) for n, answer in enumerate(flat)}
    np.savez(folder / f"{name}.answers.npz", allow_pickle=False, **numbered)


def save_networks(folder: Path) -> None:
    for name, (model, rows) in networks().items():
        if name != "recurrent":  # its gradients take half a minute
            trained(model, rows)
        names = [tensor.name for tensor in model.inputs]
        named = dict(zip(names, rows, strict=True))
        record(folder, name, named, model.predict(given(rows), verbose=0))
        model.save(folder / f"{name}.keras")
        model.save(folder / f"{name}.h5")
        folder.joinpath(f"{name}.misnamed.keras").write_bytes(
            folder.joinpath(f"{name}.h5").read_bytes()
        )
        model.export(folder / f"{name}.exported", verbose=False)
        tf.saved_model.save(model, str(folder / f"{name}.saved"))


def save_keras_2(folder: Path) -> None:
    """Write into HDF5 files what Keras 2 wrote and Keras 3 no longer reads."""
    for name, layer, argument, value in (
        ("images", "DepthwiseConv2D", "groups", 1),
        ("series", "LSTM", "time_major", False),
    ):
        for suffix, written in (("keras2.h5", value), ("odd.h5", 2)):
            path = folder / f"{name}.{suffix}"
            path.write_bytes(folder.joinpath(f"{name}.h5").read_bytes())
            with h5py.File(path, "r+") as stored:
                config = json.loads(stored.attrs["model_config"])
                for entry in config["config"]["layers"]:
                    if entry["class_name"] == layer:
                        entry["config"][argument] = written
                stored.attrs["model_config"] = json.dumps(config)


def save_keras_2_activation(folder: Path) -> None:
    """A hard sigmoid, in files that say Keras 2 wrote them, with its answers of then."""
    model = network((4,), layers.Dense(3, "hard_sigmoid"))
    kernel, bias = model.get_weights()
    answers = np.clip(0.2 * (EDGES @ kernel + bias) + 0.5, 0, 1)
    record(folder, "hard", {"x": EDGES}, answers.astype(np.float32))
    model.save(folder / "hard.h5")
    with h5py.File(folder / "hard.h5", "r+") as stored:
        stored.attrs["keras_version"] = "2.2.4"
    model.save(folder / "new.keras")
    with (
        zipfile.ZipFile(folder / "new.keras") as new,
        zipfile.ZipFile(folder / "hard.keras", "w") as old,
    ):
        for name in new.namelist():
            told = b'{"keras_version": "2.15.0"}'
            old.writestr(name, told if name == "metadata.json" else new.read(name))


@keras.saving.register_keras_serializable(package="mine")
class Doubled(layers.Layer):  # type: ignore[misc]  # Keras has no types
    """A layer whose code is not in the file."""

    def call(self, inputs: Any) -> Any:  # noqa: ANN401 - Keras has no types
        return inputs * 2


def save_foreign(folder: Path) -> None:
    twice = network((4,), layers.Lambda(lambda x: x * 2))
    twice.save(folder / "lambda.keras")
    twice.save(folder / "lambda.h5")
    network((4,), Doubled()).save(folder / "custom.keras")
    looked_up = keras.Sequential(
        [keras.Input((1,), dtype="string"), layers.StringLookup(vocabulary=["a", "b"])]
    )
    looked_up.save(folder / "lookup.keras")
    network((4,), layers.Dense(1)).save_weights(folder / "lone.weights.h5")


class Slots(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """A plain module, as TensorFlow 1 and 2 users save it."""

    def __init__(self) -> None:
        self.weight = tf.Variable(RNG.normal(size=(4, 2)).astype(np.float32))
        self.slot = tf.Variable(np.zeros((4, 2), dtype=np.float32), name="adam_m")

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def __call__(self, x: Any) -> Any:  # noqa: ANN401 - TensorFlow has no types
        return tf.nn.softmax(x @ self.weight)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def serve(self, x: Any) -> dict[str, Any]:  # noqa: ANN401 - TensorFlow has no types
        return {"odds": tf.nn.softmax(x @ self.weight), "sum": tf.reduce_sum(x, axis=1)}


class Reader(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """A graph that looks into the machine it runs on."""

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def escape(self, x: Any) -> dict[str, Any]:  # noqa: ANN401 - TensorFlow has no types
        text = tf.io.read_file("/etc/hostname")
        return {"odds": x + tf.cast(tf.strings.length(text), tf.float32)}


def save_modules(folder: Path) -> None:
    module = Slots()
    record(folder, "module", {"x": EDGES}, module(EDGES).numpy())
    tf.saved_model.save(module, str(folder / "module"))
    tf.saved_model.save(module, str(folder / "signed"), signatures=module.serve)
    two = {"first": module.serve, "second": module.serve}
    tf.saved_model.save(module, str(folder / "two_signatures"), signatures=two)
    reader = Reader()
    tf.saved_model.save(reader, str(folder / "reading"), signatures=reader.escape)
    one_row = tf.TensorSpec([1, 4], tf.float32, name="x")
    fixed = tf.function(lambda x: {"y": x}, input_signature=[one_row])
    tf.saved_model.save(tf.Module(), str(folder / "one_row"), signatures=fixed)


def save_with_lost_optimizer(folder: Path) -> None:
    """Slots of an optimizer whose class is gone, as Keras 2 left them behind."""
    saved = folder / "lost_optimizer"
    shutil.copytree(folder / "signed", saved)
    path = saved / "saved_model.pb"
    stored = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    nodes = stored.meta_graphs[0].object_graph_def.nodes
    weight, slot = [n for n, node in enumerate(nodes) if node.HasField("variable")][:2]
    nodes[0].slot_variables.add(
        original_variable_node_id=weight, slot_name="m", slot_variable_node_id=slot
    )
    path.write_bytes(stored.SerializeToString())


if __name__ == "__main__":
    OUT = Path(sys.argv[1])
    save_networks(OUT)
    save_keras_2(OUT)
    save_keras_2_activation(OUT)
    save_foreign(OUT)
    save_modules(OUT)
    save_with_lost_optimizer(OUT)
