"""PyTorch models to ONNX: pickled modules, exported programs and TorchScript.

What comes out of the binding is what mlflow.pytorch's python_function returns: arrays for
tensors, and for a table of columns a table, one row each.
"""

from functools import partial

from edgekit.table import Array
from edgekit_converters.extraction import Extraction
from edgekit_converters.frameworks import network
from edgekit_converters.frameworks.network import Network
from edgekit_converters.frameworks.pytorch import torch_export, torch_inputs, torch_native
from edgekit_converters.frameworks.pytorch.torch_inputs import Forward
from edgekit_converters.frameworks.pytorch.torch_native import Original
from edgekit_converters.job import Job


def convert(job: Job) -> Extraction:
    """Load the model, ask it about the samples, and convert it.

    ConversionError when it must not be loaded, cannot be, or has no faithful ONNX form.
    """
    name = job.source.path.name
    original = torch_native.load(job)
    forward = _forward(original)
    taken = torch_inputs.takes(job, forward)
    ports = torch_inputs.ports(name, forward, taken)
    return network.extract(
        job,
        Network(
            name=name,
            ports=ports,
            framework="pytorch",
            ask=partial(torch_native.ask, name, original),
            export=partial(torch_export.to_onnx, name, original, ports),
            restore=_as_it_is if taken.tensors else _as_table,
            takes=taken,
            tools=("torch", "onnxscript"),
        ),
    )


def _forward(original: Original) -> Forward:
    program = original.program
    return Forward(
        parameters=original.parameters,
        required=original.required,
        ports=() if program is None else torch_export.program_ports(program),
    )


def _as_it_is(answer: Array) -> Array:
    return answer


def _as_table(answer: Array) -> Array:
    """Return what the DataFrame holds that MLflow makes of an answer to a DataFrame."""
    return answer.reshape(-1, 1) if answer.ndim == 1 else answer
