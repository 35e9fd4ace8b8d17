from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit import board
from edgekit.board import Calibration
from edgekit.errors import BoardError
from edgekit.latency import Pair, calibrate, on_board

PI = board.load("raspberry-pi-zero-2-w")


def pair(here_us: int, there_us: int, device: str = "pi-1") -> Pair:
    return Pair(device=device, here_us=here_us, there_us=there_us)


def test_models_of_different_speed_tell_what_is_overhead() -> None:
    found = calibrate([pair(10, 900 + 60), pair(100, 900 + 600), pair(1000, 900 + 6000)])
    assert found.factor == pytest.approx(6)
    assert found.overhead_us == 900
    assert [found.low, found.high] == pytest.approx([6, 6])


def test_models_of_nearly_one_speed_leave_all_in_the_factor() -> None:
    found = calibrate([pair(100, 1000), pair(110, 1100), pair(120, 1200)])
    assert found.factor == pytest.approx(10)
    assert found.overhead_us == 0


def test_one_report_is_a_factor_without_a_spread() -> None:
    found = calibrate([pair(50, 400)])
    assert found == Calibration(factor=8, overhead_us=0, low=8, high=8, pairs=1, devices=1)


def test_one_device_that_is_busy_otherwise_does_not_bend_the_line() -> None:
    honest = [pair(n, 500 + 8 * n, f"pi-{n}") for n in (20, 60, 200, 700, 1500)]
    found = calibrate([*honest, pair(300, 90_000, "busy")])
    assert found.factor == pytest.approx(8, rel=0.15)
    assert found.devices == 6


def test_reports_that_cannot_be_give_no_negative_time() -> None:
    found = calibrate([pair(10, 5000), pair(100, 900), pair(1000, 100)])
    assert found.factor > 0
    assert found.overhead_us == 0


@pytest.mark.parametrize("pairs", [[], [pair(0, 10)], [pair(10, 0)]])
def test_without_a_usable_report_there_is_nothing_to_calibrate(pairs: list[Pair]) -> None:
    with pytest.raises(BoardError, match="no device of this board has reported"):
        calibrate(pairs)


@given(
    st.lists(
        st.tuples(st.integers(1, 10**6), st.integers(1, 10**7)), min_size=1, max_size=12
    ),
    st.integers(0, 10**6),
)
def test_any_reports_give_a_time_above_zero(
    times: list[tuple[int, int]], here_us: int
) -> None:
    found = calibrate([pair(here, there) for here, there in times])
    told = on_board(replace(PI, latency=found), here_us, host_speed=1)
    assert told.one_row_p50_us >= 1
    assert told.calibrated


def test_without_reports_the_time_is_called_an_estimate() -> None:
    told = on_board(PI, 60, host_speed=2)
    assert told.one_row_p50_us == 1000
    assert not told.calibrated
    assert told.how.startswith("estimated: this machine is taken as 2.0 and the board as")


def test_with_reports_it_says_of_how_many() -> None:
    known = Calibration(factor=7.5, overhead_us=300, low=7, high=8, pairs=12, devices=3)
    told = on_board(replace(PI, latency=known), 100, host_speed=99)
    assert told.one_row_p50_us == 1050
    assert told.how == (
        "calibrated by 12 reports of 3 devices: a request takes 300 us and 7.50 times the"
        " time here (7.00 to 8.00)"
    )
