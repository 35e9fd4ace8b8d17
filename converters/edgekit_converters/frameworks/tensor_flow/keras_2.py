"""What files of Keras 2 mean that Keras 3 refuses, or reads as something else.

Knows no files. In Keras 2 hard_sigmoid is 0.2 x + 0.5, in Keras 3 x / 6 + 0.5, both
between 0 and 1: Keras 3 would answer otherwise than the model did, without an error.
"""

from typing import Any

import keras

HARD_SIGMOID = "hard_sigmoid"
_SLOPE, _MIDDLE = 0.2, 0.5


def is_keras_2(version: str) -> bool:
    """Whether a file says that a Keras before 3 wrote it; "" is nobody's word."""
    major = version.partition(".")[0]
    return major.isdigit() and int(major) < 3  # noqa: PLR2004 - Keras 3


def custom_objects(version: str) -> dict[str, Any]:
    """Return what Keras 3 must be given to read a file that this version wrote."""
    return _layers() | ({HARD_SIGMOID: _hard_sigmoid} if is_keras_2(version) else {})


def uses_hard_sigmoid(config: object) -> bool:
    """Whether a model's configuration names that activation."""
    if isinstance(config, dict):
        config = list(config.values())
    if isinstance(config, list):
        return any(uses_hard_sigmoid(entry) for entry in config)
    return config == HARD_SIGMOID


def _hard_sigmoid(x: Any) -> Any:  # noqa: ANN401 - Keras has no types
    return keras.ops.clip(_SLOPE * x + _MIDDLE, 0.0, 1.0)


def _layers() -> dict[str, Any]:
    """Return layers that take Keras 2's arguments which Keras 3 dropped."""
    dropped = {
        keras.layers.DepthwiseConv2D: ("groups", 1),
        keras.layers.LSTM: ("time_major", False),
        keras.layers.GRU: ("time_major", False),
        keras.layers.SimpleRNN: ("time_major", False),
    }
    return {layer.__name__: _tolerant(layer, *gone) for layer, gone in dropped.items()}


def _tolerant(layer: Any, gone: str, harmless: object) -> Any:  # noqa: ANN401
    def from_config(cls: Any, config: dict[str, object]) -> Any:  # noqa: ANN401
        if config.get(gone, harmless) != harmless:
            raise ValueError(f"{gone}={config[gone]} has no equal in Keras 3")
        rest = {key: value for key, value in config.items() if key != gone}
        return layer.from_config.__func__(cls, rest)

    return type(layer.__name__, (layer,), {"from_config": classmethod(from_config)})
