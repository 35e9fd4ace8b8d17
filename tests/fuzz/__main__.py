"""Fuzz surfaces for longer than a test may: `python -m tests.fuzz want http --seconds 60`.

Without names: all. With atheris installed each is followed into the branches of edgekit by
libFuzzer, in a process of its own; without it hypothesis goes on with other damage. What
brought a surface down lies in the folder that is printed, to be made a test.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.damage import damaged
from tests.fuzz.surface import Surface
from tests.fuzz.table import SURFACES

_EXAMPLES = 500  # between two looks at the clock


def main() -> int:
    """Fuzz what was named; return how many surfaces fell."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("surfaces", nargs="*", metavar="SURFACE", help=", ".join(SURFACES))
    parser.add_argument("--seconds", type=int, default=60, help="for each surface")
    parser.add_argument("--engine", choices=["atheris", "hypothesis"])
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.surfaces) - SURFACES.keys())
    if unknown:
        parser.error(f"no surface {', '.join(unknown)}; one of {', '.join(SURFACES)}")
    engine = arguments.engine or ("atheris" if find_spec("atheris") else "hypothesis")
    if engine == "hypothesis" and arguments.engine is None:
        _say("atheris is not installed (pip install atheris): hypothesis instead")
    fallen = 0
    for name in arguments.surfaces or SURFACES:
        _say(f"--- {name}: {arguments.seconds} s of {engine}")
        run = _followed if engine == "atheris" else _damaged
        fallen += not run(SURFACES[name], arguments.seconds)
    return fallen


def _followed(surface: Surface, seconds: int) -> bool:
    """Fuzz by atheris; return whether the surface held."""
    folder = Path(tempfile.mkdtemp(prefix=f"ek-fuzz-{surface.name}-"))
    command = [sys.executable, "-m", "tests.fuzz.followed", surface.name, str(folder)]
    held = subprocess.run([*command, str(seconds)], check=False).returncode == 0
    if not held:
        _say(f"--- {surface.name} fell: see {folder}")
    return held


def _damaged(surface: Surface, seconds: int) -> bool:
    """Fuzz by hypothesis, with other damage in each round; return whether it held."""
    ends_s, rounds = time.monotonic() + seconds, time.time_ns()
    while time.monotonic() < ends_s:
        rounds += 1
        for example in surface.seeds():
            fed = settings(
                max_examples=_EXAMPLES,
                deadline=None,
                database=None,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            )(given(damaged(example, surface.form))(surface.feed_measured))
            seed(rounds)(fed)()
    return True


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
