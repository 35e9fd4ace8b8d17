"""What makes a flavor's folder a model of MLflow's: MLmodel and requirements.txt.

MLmodel is written as JSON, which is YAML too, so that its loader needs no YAML. Nothing in
it depends on when or where it was written, but for the version of Python.
"""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version

from edgekit import __version__
from edgekit.manifest import MODEL_NAME, Manifest, Signature
from edgekit.pyfunc import FLAVOR, MLMODEL, Form
from edgekit_converters.extraction import Extraction

REQUIREMENTS = "requirements.txt"
_FORMAT = 1
_FORMS: Mapping[str, Form] = {  # how MLflow's own flavor of each framework answers
    "keras": Form.FRAME,
    "onnx": Form.NAMED,
    "pytorch": Form.FRAME,
    "spark": Form.LIST,
    "tensorflow": Form.FRAME,
}


def files(extraction: Extraction, manifest: Manifest) -> Mapping[str, bytes]:
    """Return the files by name; they lie beside the bundle's and never go to a device."""
    document = {
        "flavors": {
            "python_function": {
                "loader_module": "edgekit.pyfunc",
                "python_version": platform.python_version(),
            },
            FLAVOR: {
                "format": _FORMAT,
                "flavor": manifest.flavor,
                "data": MODEL_NAME,
                "answers": _FORMS.get(extraction.framework, Form.ARRAY).value,
                "text_dtype": extraction.text_dtype,
                "model": f"{manifest.model.name} {manifest.model.version}",
            },
        },
        "signature": None if extraction.signature_derived else _texts(manifest.signature),
    }
    return {
        MLMODEL: (json.dumps(_known(document), indent=1) + "\n").encode(),
        REQUIREMENTS: _requirements().encode(),
    }


def _known(document: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in document.items() if value is not None}


def _texts(signature: Signature) -> dict[str, str] | None:
    """Return the signature as MLmodel has it: lists as JSON texts."""
    lists = {
        "inputs": signature.inputs,
        "outputs": signature.outputs,
        "params": signature.params,
    }
    texts = {key: json.dumps(value) for key, value in lists.items() if value is not None}
    return texts or None


def _requirements() -> str:
    pins = [f"{name}=={version(name)}" for name in ("numpy", "onnxruntime", "pandas")]
    return (
        "\n".join([f"edgekit-core[runtime]=={__version__}", *pins, "mlflow-skinny"]) + "\n"
    )
