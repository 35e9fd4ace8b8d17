"""What a PyTorch archive would do when it is loaded, told without loading it.

Knows the three archives that PyTorch writes (torch.save, TorchScript, torch.export) and
reads pickles opcode by opcode. Imports no PyTorch and runs nothing.
"""

import ast
import io
import json
import pickletools
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from edgekit.errors import ConversionError
from edgekit_converters.intake.kind import Kind

MAX_PICKLE_BYTES = 256 * 2**20
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before PyTorch 1.6
_STATE = re.compile(
    r"collections\.OrderedDict|torch\.\w+Storage|torch\.storage\.UntypedStorage"
    r"|torch\.(Size|device|(bfloat|float|int|uint)\d+|bool)"
    r"|torch\._utils\._rebuild_(tensor_v2|parameter)"
)
# What the graph of an exported program may call. All else in torch's name space is code.
_TARGET = re.compile(
    r"torch\.ops\.(aten|prims)\.(?!from_file|save|load)\w+(\.\w+)?|math\.[a-z]\w*"
    r"|_operator\.(?!attrgetter|call|methodcaller)[a-z]\w*"
    r"|torch\.ops\.higher_order\.(associative_scan|cond|map_impl|scan|while_loop|wrap_with_\w+)"
    r"|torch\.(_sym_sqrt|sym_\w+)"
)
# Members that PyTorch reads as plain text, and those it reads as tensors' bytes.
_PLAIN = {
    ".data/serialization_id",
    ".data/version",
    ".format_version",
    ".storage_alignment",
    "archive_format",
    "archive_version",
    "byteorder",
    "version",
}
_TENSORS = ("data/weights/weight_", "data/constants/tensor_", "extra/")
# Sizes are sympy expressions, which PyTorch evaluates as Python.
_SIZE_FUNCTION = re.compile(
    r"Abs|Add|And|CeilDiv|CeilToInt|CleanDiv|Eq|Equality|Float|FloatPow|FloatTrueDiv"
    r"|FloorDiv|FloorToInt|Ge|GreaterThan|Gt|Identity|IntTrueDiv|Integer|LShift|Le"
    r"|LessThan|Lt|Max|Min|Mod|ModularIndexing|Mul|Ne|Not|Or|Piecewise|Pow|PowByNatural"
    r"|PythonMod|RShift|Rational|RoundDecimal|RoundToInt|StrictGreaterThan|StrictLessThan"
    r"|Symbol|ToFloat|TruncToFloat|TruncToInt|Unequality|Where|ceiling|floor"
)
_SYMBOL = re.compile(r"(zuf|[suz])\d+|oo|int_oo")
_PLAIN_TEXT = re.compile(r"[\w.+-]{0,64}")
_ARITHMETIC = (
    ast.BinOp,
    ast.Call,
    ast.Compare,
    ast.Expression,
    ast.Load,
    ast.UnaryOp,
    ast.boolop,
    ast.cmpop,
    ast.keyword,
    ast.operator,
    ast.unaryop,
)
MAX_SIZE_CHARACTERS = 10_000
_STRINGS = {"BINUNICODE", "BINUNICODE8", "SHORT_BINUNICODE", "UNICODE"}
_MEMO = {"BINPUT", "LONG_BINPUT", "MEMOIZE", "PUT"}


def kind(members: AbstractSet[str], names: AbstractSet[str]) -> Kind | None:
    """Return which archive of PyTorch's has these members, None if it is none.

    `members` are the names below the archive's own folder, `names` the whole ones.
    """
    if "archive_format" in members or "serialized_exported_program.json" in names:
        return Kind.TORCH_PROGRAM
    if "constants.pkl" in members and "data.pkl" in members:
        return Kind.TORCH_SCRIPT
    return Kind.TORCH_PICKLE if "data.pkl" in members else None


def holds_only_weights(path: Path) -> bool:
    """Tell whether a torch.save archive holds tensors alone: a state_dict or checkpoint."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith("/data.pkl"):
                return all(map(_STATE.fullmatch, _globals(path, _read(archive, name))))
    return False


def only_weights(name: str) -> ConversionError:
    """Return the refusal of a state_dict or checkpoint."""
    return ConversionError(
        f"{name}: weights without their network (a state_dict or checkpoint); load them"
        " into the model and save the whole of it: torch.export.save, or"
        " mlflow.pytorch.log_model"
    )


def code_in_program(path: Path) -> str | None:
    """Return what in a torch.export archive would run code when loaded, None if nothing.

    ConversionError when the archive is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return next(_suspects(path, archive), None)
    except (KeyError, OSError, RecursionError, ValueError, zipfile.BadZipFile) as error:
        raise ConversionError(f"{path.name}: a damaged archive: {error}") from error


def _suspects(path: Path, archive: zipfile.ZipFile) -> Iterator[str]:
    names = [name.casefold() for name in archive.namelist()]
    if len(set(names)) < len(names):
        yield "a member that is there twice"
    for name in archive.namelist():
        plain = name.partition("/")[2]
        if name.endswith(".json"):
            yield from _in_document(json.loads(_read(archive, name)))
        elif name.endswith(".pt"):
            yield from _in_pickle(path, name, _read(archive, name))
        elif name not in _PLAIN and plain not in _PLAIN and not plain.startswith(_TENSORS):
            yield f"the member {name}"


def _in_document(value: object) -> Iterator[str]:
    if isinstance(value, str) and "__enum__" in value:
        yield "an enumeration of another module"
    if isinstance(value, dict):
        yield from _in_entry(value)
    for part in _parts(value):
        yield from _in_document(part)


def _parts(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _in_entry(entry: Mapping[str, object]) -> Iterator[str]:
    target, constraints = entry.get("target"), entry.get("range_constraints")
    if isinstance(target, str) and "inputs" in entry and not _TARGET.fullmatch(target):
        yield f"a call of {target}"
    if entry.get("use_pickle"):
        yield "pickled weights"
    sizes = list(constraints) if isinstance(constraints, dict) else []
    sizes += [entry["expr_str"]] if "expr_str" in entry else []
    if not all(map(_is_arithmetic, sizes)):
        yield "a size that is no arithmetic"


def _is_arithmetic(expression: object) -> bool:
    if not isinstance(expression, str) or len(expression) > MAX_SIZE_CHARACTERS:
        return False
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except SyntaxError:
        return False
    return all(map(_is_harmless, ast.walk(tree)))


def _is_harmless(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return bool(_SIZE_FUNCTION.fullmatch(name))
        case ast.Name(id=name):
            return bool(_SIZE_FUNCTION.fullmatch(name) or _SYMBOL.fullmatch(name))
        case ast.Constant(value=str(text)):
            return "__" not in text and bool(_PLAIN_TEXT.fullmatch(text))
        case ast.Constant(value=bool() | int() | float()):
            return True
        case ast.Call():
            return False
    return isinstance(node, _ARITHMETIC)


def _in_pickle(path: Path, name: str, content: bytes) -> Iterator[str]:
    if not content:
        return
    with zipfile.ZipFile(io.BytesIO(content)) as inner:
        found = [entry for entry in inner.namelist() if entry.endswith("/data.pkl")]
        named = {g for entry in found for g in _globals(path, _read(inner, entry))}
    for wanted in sorted(named):
        if not _STATE.fullmatch(wanted):
            yield f"{wanted} in the pickle {name}"


def _globals(path: Path, content: bytes) -> Iterator[str]:
    """Yield what a pickle would import, "module.name" each; ? for what it works out."""
    texts: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name in {"GLOBAL", "INST"}:
                yield str(argument).replace(" ", ".")
            elif opcode.name == "STACK_GLOBAL":
                yield ".".join(texts[-2:]) if len(texts) > 1 else "?"
            elif opcode.name in {"EXT1", "EXT2", "EXT4"}:
                yield "?"
            if opcode.name in _STRINGS:
                texts.append(str(argument))
            elif opcode.name not in _MEMO:
                texts.clear()
    except (ValueError, IndexError) as error:
        raise ConversionError(f"{path.name}: a damaged pickle: {error}") from error


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    size = archive.getinfo(name).file_size
    if size > MAX_PICKLE_BYTES:
        raise ConversionError(
            f"{archive.filename}: {name} has {size} bytes, at most {MAX_PICKLE_BYTES} are"
            " read"
        )
    return archive.read(name)
