"""The child process: load one native model, convert it, leave the result in a folder.

`python -m edgekit_converters.native.child ORDER.json`. A model's code, if any runs, runs
here and nowhere else. What a person can fix goes to error.json; a crash leaves a traceback.
"""

import ctypes
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import cast

from edgekit.document import canonical_json
from edgekit.errors import EdgekitError
from edgekit_converters import extraction
from edgekit_converters.extraction import Extraction
from edgekit_converters.frameworks import CONVERTERS, EXTRAS
from edgekit_converters.intake.unloadable import UnloadableError
from edgekit_converters.job import Job, Order

ERROR = "error.json"
REFUSED = 3  # exit code: error.json says why
_PR_SET_PDEATHSIG = 1  # Linux's prctl.h


def main(arguments: list[str]) -> int:
    """Carry out the order in a file; return the exit code."""
    _end_with_the_parent()
    order = Order.from_json(Path(arguments[0]).read_bytes())
    try:
        extraction.save(order.out, convert(order.job()))
    except EdgekitError as error:
        document = {
            "message": str(error),
            "unloadable": isinstance(error, UnloadableError),
        }
        order.out.joinpath(ERROR).write_bytes(canonical_json(document))
        return REFUSED
    return 0


def _end_with_the_parent() -> None:
    """Have the kernel end this process when the one that waits for it is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def convert(job: Job) -> Extraction:
    """Convert with the framework that the job's kind belongs to."""
    name = CONVERTERS[job.source.kind]
    try:
        converter = import_module(name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise UnloadableError(
            f"{job.source.path.name}: {package} is not installed here:"
            f" pip install 'edgekit-converters[{EXTRAS[package]}]'"
        ) from error
    return cast("Extraction", converter.convert(job))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
