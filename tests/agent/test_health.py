from pathlib import Path

import pytest

from edgekit_agent.supervision import health


def zone(thermal: Path, number: int, kind: str, temperature: str) -> None:
    folder = thermal / f"thermal_zone{number}"
    folder.mkdir()
    (folder / "type").write_text(f"{kind}\n")
    (folder / "temp").write_text(f"{temperature}\n")


def test_the_hottest_zone_of_a_processor_is_told(tmp_path: Path) -> None:
    zone(tmp_path, 0, "cpu-thermal", "51540")
    zone(tmp_path, 1, "cpu1_thermal", "53000")
    zone(tmp_path, 2, "battery", "90000")
    zone(tmp_path, 3, "soc-thermal", "-274000")
    assert health.cpu_c(tmp_path) == 53.0


@pytest.mark.parametrize("temperature", ["", "hot", "999999"])
def test_a_sensor_that_tells_nonsense_is_none(tmp_path: Path, temperature: str) -> None:
    zone(tmp_path, 0, "cpu-thermal", temperature)
    assert health.cpu_c(tmp_path) is None
    assert health.cpu_c(tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("told", "throttled"),
    [("0\n", False), ("50000\n", False), ("50005\n", True), ("", None), ("x", None)],
)
def test_throttling_is_what_the_firmware_does_now_not_what_it_did(
    tmp_path: Path, told: str, *, throttled: bool | None
) -> None:
    path = tmp_path / "get_throttled"
    path.write_text(told)
    assert health.throttled(path) is throttled


def test_what_a_machine_does_not_tell_is_unknown(tmp_path: Path) -> None:
    assert health.throttled(tmp_path / "absent") is None
    found = health.sample(tmp_path, worker_rss_bytes=5)
    assert found.worker_rss_bytes == 5
    assert found.supervisor_rss_bytes > 0
    assert found.disk_free_bytes is not None
    assert health.sample(tmp_path / "absent", worker_rss_bytes=0).disk_free_bytes is None
