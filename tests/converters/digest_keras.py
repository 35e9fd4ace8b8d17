"""Save one small Keras network in each form, and rows for it.

Runs in a process of its own: `python -m tests.converters.digest_keras FOLDER`.
"""

import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers

ROWS = 80


def main(folder: Path) -> None:
    """Save net.* and net.rows.npz."""
    keras.utils.set_random_seed(5)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, "softmax"),
        ]
    )
    model.save(folder / "net.keras")
    model.save(folder / "net.h5")
    model.export(folder / "net.saved", verbose=False)
    images = np.random.default_rng(1).normal(size=(ROWS, 8, 8, 1)).astype(np.float32)
    np.savez(folder / "net.rows.npz", allow_pickle=False, image=images)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
