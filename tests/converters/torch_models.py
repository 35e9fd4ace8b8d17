"""Save small PyTorch networks in every form that PyTorch and MLflow have had.

Runs in a process of its own: `python -m tests.converters.torch_models FOLDER`. Beside each
network NAME lie its rows (NAME.rows.npz) and its answers (NAME.answers.npz); beside each
MLflow folder what MLflow's python_function answers (FOLDER.answers.npy).
"""

import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import Schema, TensorSpec
from torch.utils import _pytree as pytree

from tests.converters import torch_networks as networks

ROWS = 40
LOGGED = {
    "pickle": ("classifier", "images", "lstm"),
    "pt2": ("flat", "words"),
}
_AUTO = torch.export.Dim.AUTO


def save_files(folder: Path) -> None:
    for name in networks.NETWORKS:
        module, rows = networks.made(name, ROWS)
        names = ["one", "two"] if len(rows) > 1 else ["x"]
        given = {key: row.numpy() for key, row in zip(names, rows, strict=True)}
        np.savez(folder / f"{name}.rows.npz", allow_pickle=False, **given)
        with torch.no_grad():
            answers = pytree.tree_leaves(module(*rows))
        numbered = {f"answer{n}": answer.numpy() for n, answer in enumerate(answers)}
        np.savez(folder / f"{name}.answers.npz", allow_pickle=False, **numbered)
        torch.save(module, folder / f"{name}.pth")
        torch.export.save(program(module, rows), folder / f"{name}.pt2")


def program(module: Any, rows: Any) -> Any:  # noqa: ANN401
    sizes = tuple({0: _AUTO} for _ in rows)
    return torch.export.export(module, rows, dynamic_shapes=sizes)


def save_odd(folder: Path) -> None:
    module, rows = networks.made("classifier", ROWS)
    pictures, shown = networks.made("images", ROWS)
    torch.jit.trace(pictures, shown).save(str(folder / "images.traced.pt"))
    series, _ = networks.made("lstm", ROWS)
    torch.jit.script(series).save(str(folder / "lstm.scripted.pt"))
    torch.save(module, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(module.state_dict(), folder / "state.pth")
    torch.save({"epoch": 3, "state_dict": module.state_dict()}, folder / "checkpoint.pt")
    torch.save([module], folder / "list.pth")
    torch.export.save(torch.export.export(module, rows), folder / "fixed.pt2")
    torch.save(networks.Deciding().eval(), folder / "deciding.pth")
    torch.save(networks.Forgetful().eval(), folder / "forgetful.pth")
    torch.save(networks.Counting(ROWS).eval(), folder / "counting.pth")
    torch.save(networks.Settling().eval(), folder / "settling.pth")
    torch.save(networks.Talkative().eval(), folder / "talkative.pth")
    counting = networks.Counting(ROWS).eval()
    torch.jit.trace(counting, rows, check_trace=False).save(str(folder / "counting.pt"))
    state = networks.Hidden(torch.nn.GRU).eval()
    torch.save(state, folder / "hidden.pth")
    torch.save(torch.compile(module), folder / "compiled.pth")


def save_flavors(folder: Path) -> None:
    for form, names in LOGGED.items():
        for name in names:
            module, (rows,) = networks.made(name, ROWS)
            save(module, folder / f"{name}.{form}.logged", rows.numpy(), form)
    for name in ("classifier", "flat"):
        module, (rows,) = networks.made(name, ROWS)
        frame = pd.DataFrame(rows.numpy(), columns=["a", "b", "c", "d"]).astype(float)
        save(module, folder / f"{name}.frame.logged", frame, "pickle")
    module, (rows,) = networks.made("gru", ROWS)
    spec = TensorSpec(np.dtype("float32"), (-1, -1, 3))
    any_length = ModelSignature(inputs=Schema([spec]))
    save(module, folder / "any_length.logged", rows.numpy(), "pickle", any_length)
    module, two = networks.made("two_ways", ROWS)
    specs = [
        TensorSpec(np.dtype("float32"), (-1, 4), "first"),
        TensorSpec(np.dtype("float32"), (-1, 2), "second"),
    ]
    mlflow.pytorch.save_model(
        module,
        str(folder / "two_ways.logged"),
        signature=ModelSignature(inputs=Schema(specs)),
        input_example=[tensor.numpy() for tensor in two],
        serialization_format="pt2",
        pip_requirements=["torch"],
    )
    module, (rows,) = networks.made("classifier", 1)
    save(module, folder / "one_row.logged", rows.numpy(), "pt2")
    module, (rows,) = networks.made("classifier", ROWS)
    save(module.train(), folder / "training.logged", rows.numpy(), "pt2")


def save(
    module: Any,  # noqa: ANN401
    folder: Path,
    example: Any,  # noqa: ANN401
    form: str,
    signature: Any = None,  # noqa: ANN401
) -> None:
    mlflow.pytorch.save_model(
        module,
        str(folder),
        signature=signature or infer_signature(example),
        input_example=example,
        serialization_format=form,
        pip_requirements=["torch"],  # asking which would load each model once more
    )
    answer = mlflow.pyfunc.load_model(str(folder)).predict(example)
    np.save(f"{folder}.answers.npy", np.asarray(answer))


if __name__ == "__main__":
    OUT = Path(sys.argv[1])
    save_files(OUT)
    save_odd(OUT)
    save_flavors(OUT)
