"""The demo is the whole path: MLflow, converters, TUF, a broker, three agents."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
ACCURACIES = r"│ +(0\.\d{3}) │ +(0\.\d{3}) │$"
SERVED = r"every device serves version (\d) after"


@pytest.mark.parametrize(
    "broker", [pytest.param("mosquitto", marks=pytest.mark.broker), "nats-server"]
)
def test_two_versions_reach_three_devices_and_come_back(broker: str) -> None:
    with tempfile.TemporaryDirectory(prefix="ek-") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "demo", "--folder", f"{folder}/d", "--broker", broker],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.findall(SERVED, done.stdout) == ["1", "2", "1"]
        answered = re.search(
            r"(\d+) predictions answered on three devices, 0 lost", done.stdout
        )
        assert answered, done.stdout
        assert int(answered[1]) > 100
        # Both versions answer on the devices as well as they did where they were trained.
        accuracies = re.findall(ACCURACIES, done.stdout, re.MULTILINE)
        assert len(accuracies) == 2
        assert all(float(after) >= float(before) - 0.02 for before, after in accuracies)
        reports = re.findall(r"^report of version \d: (.+)$", done.stdout, re.MULTILINE)
        assert [Path(report).is_file() for report in reports] == [True, True]
