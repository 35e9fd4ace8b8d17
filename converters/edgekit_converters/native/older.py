"""Start the child in Python 3.10, which edgekit itself has left behind. Knows no model.

Pickles of scikit-learn 1.0 load in scikit-learn 1.0 only, and that has no wheels for a
newer Python. The few names of 3.11 that the child's imports ask for are lent to it here.
`python older.py ORDER.json`.
"""

import datetime as dt
import enum
import sys
import types
import typing

# Imported by what the child imports and never called in it: no board is read there.
_UNUSED: dict[str, tuple[str, ...]] = {
    "tomllib": (),
    "importlib.resources.abc": ("Traversable",),
}


class _StrEnum(str, enum.Enum):  # noqa: UP042 - StrEnum is what is missing
    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)


def lend() -> None:
    """Add the names of 3.11 where an older Python lacks them."""
    lent: dict[object, dict[str, object]] = {
        enum: {"StrEnum": _StrEnum},
        typing: {"Self": typing.Any, "Never": typing.NoReturn, "assert_never": print},
        dt: {"UTC": dt.timezone.utc},  # noqa: UP017 - as above
    }
    for module, names in lent.items():
        for name, value in names.items():
            if not hasattr(module, name):
                setattr(module, name, value)
    for name, members in _UNUSED.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(dict.fromkeys(members, object))


if __name__ == "__main__":
    lend()
    from edgekit_converters.native import child

    sys.exit(child.main(sys.argv[1:]))
