"""Which file converts what: the one place to add a framework.

A converter is a module with `convert(job: Job) -> Extraction`; it is imported in the child
process only, because it imports its framework.
"""

from collections.abc import Mapping

from edgekit_converters.intake.kind import Kind

CONVERTERS: Mapping[Kind, str] = {
    Kind.ONNX: "edgekit_converters.frameworks.onnx_model",
    Kind.SKLEARN_PICKLE: "edgekit_converters.frameworks.scikit.sklearn",
    Kind.SKLEARN_SKOPS: "edgekit_converters.frameworks.scikit.sklearn",
    Kind.KERAS_ZIP: "edgekit_converters.frameworks.tensor_flow.keras",
    Kind.KERAS_H5: "edgekit_converters.frameworks.tensor_flow.keras",
    Kind.SAVED_MODEL: "edgekit_converters.frameworks.tensor_flow.saved_model",
    Kind.TFLITE: "edgekit_converters.frameworks.tensor_flow.tflite",
    Kind.TORCH_PICKLE: "edgekit_converters.frameworks.pytorch.torch",
    Kind.TORCH_PROGRAM: "edgekit_converters.frameworks.pytorch.torch",
    Kind.TORCH_SCRIPT: "edgekit_converters.frameworks.pytorch.torch",
    Kind.SPARK: "edgekit_converters.frameworks.spark",
    Kind.XGBOOST: "edgekit_converters.frameworks.boosting.xgboost",
    Kind.LIGHTGBM: "edgekit_converters.frameworks.boosting.lightgbm",
    Kind.CATBOOST: "edgekit_converters.frameworks.boosting.catboost",
}

# Packages of each extra of edgekit-converters: what to install when one is missing.
EXTRAS: Mapping[str, str] = {
    "sklearn": "sklearn",
    "skl2onnx": "sklearn",
    "skops": "sklearn",
    "tensorflow": "tensorflow",
    "keras": "tensorflow",
    "tf2onnx": "tensorflow",
    "h5py": "tensorflow",
    "torch": "torch",
    "onnxscript": "torch",
    "onnxmltools": "spark",
    "py4j": "spark",
    "pyspark": "spark",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
}

# What converts a kind among the packages it was made with: installed there beside them.
TOOLS: Mapping[Kind, tuple[str, ...]] = {
    Kind.SKLEARN_PICKLE: ("skl2onnx>=1.16",),
    Kind.SKLEARN_SKOPS: ("skl2onnx>=1.16", "skops>=0.9"),
    Kind.XGBOOST: (),  # a booster tells its trees itself
    Kind.LIGHTGBM: (),
    Kind.CATBOOST: (),
}
