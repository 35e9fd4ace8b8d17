"""A PyTorch model as its author left it: load it, ask it, tell what it takes and answers.

Knows no ONNX. Runs the model's code where that was allowed, and nothing otherwise.
"""

import inspect
import pickle
import sys
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils import _pytree as pytree

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.frameworks.network import short
from edgekit_converters.intake import torch_archive
from edgekit_converters.intake.kind import Kind
from edgekit_converters.job import Job

FAILURES = (  # what loading, running and exporting a model raise
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A model out of its file. `program` is what torch.export made of it, if it did.

    `parameters` are the names its forward takes by position, `required` those it cannot do
    without. `call` takes one tensor for each of the first. `saved_with` is the PyTorch that
    a pickle comes from, "" where it is this one or nobody says.
    """

    module: Any
    call: Callable[..., Any]
    parameters: tuple[str, ...]
    required: int
    program: Any = None
    saved_with: str = ""


def load(job: Job) -> Original:
    """Return the model, in evaluation mode and on the CPU, or raise ConversionError."""
    path = job.source.path
    if job.source.kind is Kind.TORCH_PROGRAM and not job.trust_pickle:
        code = torch_archive.code_in_program(path)
        if code is not None:
            raise ConversionError(
                f"{path.name}: {code}: loading it would run code. If you trust where it"
                " comes from, allow it with --trust-pickle"
            )
    if job.trust_pickle and job.source.code is not None:
        sys.path.insert(0, str(job.source.code))
    try:
        return _LOADERS[job.source.kind](job)
    except FAILURES as error:
        saved = job.source.configuration.get("pytorch_version", "another version")
        raise ConversionError(
            f"{path.name}: PyTorch {torch.__version__} cannot load it ({short(error)}); it"
            f" was saved with PyTorch {saved}. Where it was made, save it as an exported"
            " program (torch.export.save), or log it with mlflow.pytorch and code_paths"
        ) from error


def ask(name: str, original: Original, arrays: Sequence[Array]) -> dict[str, Array]:
    """Return the original's answers by name, "" for a plain tensor.

    ConversionError when it fails, or answers anything but tensors.
    """
    floating = _floating(original.module)
    try:
        with torch.no_grad():
            answer = original.call(*[as_tensor(array, floating) for array in arrays])
    except FAILURES as error:
        raise ConversionError(
            f"{name}: the original itself fails on the samples: {short(error)}"
            f"{_elsewhere(original)}"
        ) from error
    leaves, _ = pytree.tree_flatten_with_path(answer)
    found = {_named(path): leaf for path, leaf in leaves}
    for path, leaf in found.items():
        if not isinstance(leaf, torch.Tensor):
            raise ConversionError(
                f"{name}: it answers {type(leaf).__name__} at {path or 'its top'}; tensors"
                " are expected. Wrap the model so that it returns only tensors"
            )
    if not found or len(found) < len(leaves):
        raise ConversionError(
            f"{name}: it answers {len(leaves)} tensors by {len(found)} names, a name for"
            " each is expected"
        )
    return {path: as_array(leaf) for path, leaf in found.items()}


def as_tensor(array: Array, floating: Any) -> Any:  # noqa: ANN401 - PyTorch has no types
    """Return an array as a tensor, floating numbers in the given type."""
    tensor = torch.from_numpy(array.copy())
    return tensor.to(floating) if tensor.is_floating_point() else tensor


def as_array(tensor: Any) -> Array:  # noqa: ANN401 - PyTorch has no types
    """Return a tensor's numbers; those that numpy has no type for, as float32."""
    plain = tensor.detach()
    known = plain.float() if plain.dtype is torch.bfloat16 else plain
    array: Array = known.numpy()
    return array


def _load_pickle(job: Job) -> Original:
    # The pickle names what it needs, cloudpickle included, so any unpickler will do.
    module = torch.load(job.source.path, map_location="cpu", weights_only=False)
    if isinstance(module, dict):
        raise torch_archive.only_weights(job.source.path.name)
    module = getattr(module, "_orig_mod", module)  # inside what torch.compile made
    if not isinstance(module, torch.nn.Module):
        raise ConversionError(
            f"{job.source.path.name}: it holds a {type(module).__name__}; a"
            " torch.nn.Module is expected"
        )
    return replace(_module(module), saved_with=_other_version(job))


def _load_script(job: Job) -> Original:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return _module(torch.jit.load(str(job.source.path), map_location="cpu"))


def _load_program(job: Job) -> Original:
    program = torch.export.load(str(job.source.path))
    module = program.module()
    spec = program.call_spec.in_spec

    def call(*given: Any) -> Any:  # noqa: ANN401 - PyTorch has no types
        arguments, named = pytree.tree_unflatten(list(given), spec)
        return module(*arguments, **named)

    return Original(
        module=module,
        call=call,
        parameters=tuple(program.graph_signature.user_inputs),
        required=len(program.graph_signature.user_inputs),
        program=program,
    )


_LOADERS: dict[Kind, Callable[[Job], Original]] = {
    Kind.TORCH_PICKLE: _load_pickle,
    Kind.TORCH_PROGRAM: _load_program,
    Kind.TORCH_SCRIPT: _load_script,
}


def _module(module: Any) -> Original:  # noqa: ANN401 - PyTorch has no types
    module.eval()
    if isinstance(module, torch.jit.ScriptModule):
        arguments = module.forward.schema.arguments[1:]
        taken = {a.name: a.has_default_value() for a in arguments}
    else:
        parameters = inspect.signature(module.forward).parameters.values()
        taken = {
            p.name: p.default is not inspect.Parameter.empty
            for p in parameters
            if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}
        }
    return Original(
        module=module,
        call=module,
        parameters=tuple(taken),
        required=sum(not optional for optional in taken.values()),
    )


def _other_version(job: Job) -> str:
    """Return the PyTorch that a model was logged with, if it is not of this release."""
    saved = str(job.source.configuration.get("pytorch_version", ""))
    return "" if _release(saved) == _release(torch.__version__) else saved


def _release(version: str) -> list[str]:
    return version.split(".")[:2]


def _elsewhere(original: Original) -> str:
    if not original.saved_with:
        return ""
    return (
        f". It was pickled with PyTorch {original.saved_with}, and this is"
        f" {torch.__version__}: where it was made, save it as an exported program"
        " (torch.export.save)"
    )


def _floating(module: Any) -> Any:  # noqa: ANN401 - PyTorch has no types
    """Return the type that a model computes in: that of its first floating weights."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            return tensor.dtype
    return torch.float32


def _named(path: Sequence[Any]) -> str:
    """Return a leaf's name: its keys, and "output2" for a place in a tuple."""
    parts = []
    for key in path:
        if isinstance(key, pytree.SequenceKey):
            parts.append(f"output{key.idx}")
        else:
            parts.append(str(getattr(key, "key", getattr(key, "name", key))))
    return "_".join(parts)
