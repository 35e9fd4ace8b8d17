"""The entry point of the `edgekit` command where the operator extra may be missing.

Knows only how to say what to install.
"""

import sys

_EXTRA = frozenset({"click", "rich", "tomli_w"})


def main() -> None:
    """Run the command, or say which extra it needs (exit code 3)."""
    try:
        from edgekit.cli import main as command  # noqa: PLC0415 - the import may fail
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        sys.stderr.write(
            f"error: edgekit: {error.name} is not installed, the operator's command needs"
            " it; pip install 'edgekit-core[operator]'\n"
        )
        sys.exit(3)
    command()
