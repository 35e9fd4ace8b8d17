"""docs/schema.md does what it shows."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/schema.md"


def test_the_example_runs() -> None:
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert examples
    for example in examples:
        exec(example, {})  # noqa: S102 - the page's own example
