"""Small PyTorch networks with seeded weights, one for each thing that must be converted.

Imported where models are made and where they are loaded, as a user's own code is.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Tensors = tuple[Any, ...]


class Recurrent(nn.Module):  # type: ignore[misc]  # PyTorch is untyped here
    """An LSTM or GRU, and a number read off its last step."""

    def __init__(self, kind: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.steps = kind(3, 5, batch_first=True, **options)
        self.head = nn.Linear(10 if options.get("bidirectional") else 5, 1)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        seen, _ = self.steps(series)
        return self.head(seen[:, -1])


class Attention(nn.Module):  # type: ignore[misc]  # PyTorch is untyped here
    """Self-attention with a residual around it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        seen, _ = self.attention(series, series, series, need_weights=False)
        return self.norm(series + seen)


class Encoder(nn.Module):  # type: ignore[misc]  # PyTorch is untyped here
    """A transformer's encoder, pooled."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.layers = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, 2)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(series).mean(1))


class Words(nn.Module):  # type: ignore[misc]  # PyTorch is untyped here
    """Whole numbers in, looked up in a table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(words).mean(1))


class TwoWays(nn.Module):  # type: ignore[misc]  # PyTorch is untyped here
    """Two inputs, and answers by name."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 3), nn.Linear(2, 3)

    def forward(self, one: torch.Tensor, two: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.one(one) + self.two(two)
        return {"mean": hidden, "spread": hidden.exp().sum(1)}


class Pair(nn.Module):  # type: ignore[misc]  # PyTorch is untyped here
    """The same without names; the second input may be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 3), nn.Linear(2, 3)

    def forward(
        self, one: torch.Tensor, two: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.one(one)
        return (hidden if two is None else hidden + self.two(two)), hidden.sum(1)


class Flat(nn.Module):  # type: ignore[misc]  # PyTorch is untyped here
    """One number a row, without an axis of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 1)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.head(rows).squeeze(1)


class Deciding(Flat):
    """It looks at its numbers, and does one thing or another."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.head(rows) if rows.sum() > 0 else -rows


class Forgetful(Flat):
    """Dropout that does not know when training is over."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(self.head(rows), 0.5, training=True)


class Counting(nn.Module):  # type: ignore[misc]  # PyTorch is untyped here
    """It reshapes by a number of rows that is written in its code."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows, self.head = rows, nn.Linear(4, 2)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.head(rows).reshape(self.rows, 2)


class Hidden(Recurrent):
    """It also answers its last state, whose rows are the second axis."""

    def forward(self, series: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.steps(series)[0], self.steps(series)[1]


def settle(rows: torch.Tensor) -> torch.Tensor:
    if bool(rows.sum() > 0):
        return rows * 2
    return -rows


settled = torch.jit.script(settle)


class Settling(Flat):
    """It decides too, but in TorchScript, where decisions are kept."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return settled(self.head(rows))


class Talkative(Flat):
    """It answers a text beside its number."""

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, str]:
        return self.head(rows), "done"


def classifier() -> Any:  # noqa: ANN401
    return nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3), nn.Softmax(-1)
    )


def images() -> Any:  # noqa: ANN401
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


NETWORKS: dict[str, tuple[Callable[[], Any], tuple[tuple[int, ...], ...]]] = {
    "classifier": (classifier, ((4,),)),
    "images": (images, ((1, 12, 12),)),
    "lstm": (lambda: Recurrent(nn.LSTM), ((7, 3),)),
    "gru": (lambda: Recurrent(nn.GRU, bidirectional=True, num_layers=2), ((7, 3),)),
    "attention": (Attention, ((6, 8),)),
    "encoder": (Encoder, ((6, 8),)),
    "words": (Words, ((5,),)),
    "two_ways": (TwoWays, ((4,), (2,))),
    "pair": (Pair, ((4,), (2,))),
    "flat": (Flat, ((4,),)),
    "double": (lambda: classifier().double(), ((4,),)),
}


def made(name: str, number: int) -> tuple[Any, Tensors]:
    """A network in evaluation mode, its statistics moved, and so many rows for it."""
    torch.manual_seed(5)
    make, shapes = NETWORKS[name]
    module = make()
    whole = name == "words"
    rows = tuple(
        torch.randint(0, 10, (number, *shape)) if whole else torch.randn(number, *shape)
        for shape in shapes
    )
    if name == "images":
        module(*rows)  # in training mode: BatchNorm sees something
    if name == "double":
        rows = tuple(tensor.double() for tensor in rows)
    return module.eval(), rows
