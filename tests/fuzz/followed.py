"""One surface under atheris, which libFuzzer ends: `python -m tests.fuzz.followed`.

Everything of edgekit is instrumented as it is imported, so nothing of it may be before. The
process dies of the first input that brings the surface down, hangs it or takes too much
memory, and leaves it in the folder.
"""

import importlib
import sys
from pathlib import Path

import atheris

_OURS = ["edgekit", "edgekit_agent", "edgekit_converters"]
_HANG_S = 20
_MEMORY_MB = 2048
_LONGEST_BYTES = 100_000


def main() -> None:
    """Fuzz the surface that the arguments name, into a folder, for so many seconds."""
    name, folder, seconds = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    with atheris.instrument_imports(include=_OURS):
        surface = importlib.import_module("tests.fuzz.table").SURFACES[name]
        dictionary = importlib.import_module("tests.fuzz.damage").DICTIONARY
        mutator = importlib.import_module("tests.fuzz.mutation").mutator
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, example in enumerate(surface.seeds()):
        (corpus / f"seed-{number}").write_bytes(example)
    words = folder / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in dictionary), "ascii")
    options = {
        "max_total_time": seconds,
        "timeout": _HANG_S,
        "rss_limit_mb": _MEMORY_MB,
        "max_len": _LONGEST_BYTES,
        "dict": words,
        "artifact_prefix": f"{folder}/fell-",
        "print_final_stats": 1,
        "verbosity": 0,
    }
    arguments = [f"-{key}={value}" for key, value in options.items()]
    atheris.Setup(
        [sys.argv[0], *arguments, str(corpus)],
        lambda data: surface.feed(data) and None,
        custom_mutator=mutator(surface.form, _mutate),
    )
    atheris.Fuzz()


def _mutate(data: bytes, max_size: int) -> bytes:
    """Call it by its name, behind which Fuzz() puts another."""
    mutated: bytes = atheris.Mutate(data, max_size)
    return mutated


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main()
