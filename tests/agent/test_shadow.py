"""Shadow scoring: the last real inputs, kept in bounds, and a candidate's answers."""

import stat
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ProofError
from edgekit.golden import Golden
from edgekit_agent import shadow
from edgekit_agent.proof import Rehearsal, prove
from edgekit_agent.service import recent
from edgekit_agent.service.recent import Recent
from edgekit_agent.shadow import LEAST_ROWS, Agreement, Terms, compare
from edgekit_agent.storage.store import Store
from tests.agent.making import made, stored

ENOUGH = 4 * 2**30


def table(*values: float) -> dict[str, np.ndarray]:
    return {"a": np.array(values), "b": np.zeros(len(values))}


def decoded(kept: Recent, folder: Path) -> list[Golden]:
    path = folder / "recent"
    recent.write(path, kept.encode())
    return shadow.read(path, 0.0)


def test_the_last_rows_are_kept_with_their_answers(folder: Path) -> None:
    kept = Recent(most_rows=5, most_bytes=10_000)
    for n in range(4):
        kept.add(table(n, n), np.array([2.0 * n, 2.0 * n]))
    found = decoded(kept, folder)
    assert [one.inputs["a"].tolist() for one in found] == [[2, 2], [3, 3]]
    assert found[-1].outputs[""].tolist() == [6, 6]


def test_no_more_bytes_are_kept_than_allowed(folder: Path) -> None:
    kept = Recent(most_rows=1000, most_bytes=100)
    for n in range(10):
        kept.add(table(n), np.array([1.0]))  # 24 bytes each
    assert len(decoded(kept, folder)) == 4
    kept.add(table(*range(50)), np.zeros(50))
    assert len(decoded(kept, folder)) == 4, "a request larger than all that is not kept"


def test_of_a_large_batch_the_first_rows_are_kept(folder: Path) -> None:
    kept = Recent(most_rows=3, most_bytes=10_000)
    kept.add(table(*range(50)), np.arange(50.0))
    (found,) = decoded(kept, folder)
    assert found.inputs["a"].tolist() == [0, 1, 2]


def test_what_cannot_be_written_down_is_not_kept(folder: Path) -> None:
    kept = Recent(most_rows=50, most_bytes=10_000)
    kept.add({"at": np.array(["2026-01-01"], "datetime64[D]")}, np.array([1.0]))
    kept.add({"words": np.array([["a", "b"], None], dtype=object)}, np.array([1, 2]))
    kept.add({"word": np.array(["a"], dtype=object)}, {"label": np.array(["x"], object)})
    (found,) = decoded(kept, folder)
    assert found.outputs["label"].tolist() == ["x"]


def test_requests_of_many_threads_are_kept_in_bounds() -> None:
    kept = Recent(most_rows=20, most_bytes=100_000)

    def ask() -> None:
        for n in range(300):
            kept.add(table(n), np.array([1.0]))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept.encode().splitlines()) == 20


def test_the_file_is_for_the_agent_alone_and_taken_away_when_read(folder: Path) -> None:
    path = folder / "recent"
    recent.write(path, b"")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert shadow.read(path, 0.0) == []
    assert not path.exists()
    path.write_bytes(b"half a li")
    assert shadow.read(path, 0.0) == []


def asked(outputs: Sequence[object], count: int = 1) -> list[Golden]:
    """Requests of as many rows as their answers have."""
    arrays = [np.atleast_1d(np.asarray(one)) for one in outputs]
    return [
        Golden(inputs={"a": np.zeros(len(one))}, outputs={"": one}) for one in arrays
    ] * count


def answers(value: object) -> Agreement:
    return compare(
        asked([[1.0], [2.0], [np.nan]], 10),
        lambda _inputs: {"": np.atleast_1d(np.asarray(value))},
        classes=False,
    )


def test_numbers_are_compared_by_their_largest_difference() -> None:
    found = answers(1.5)
    assert (found.rows, found.agreed, found.failed) == (30, 20, 0)
    assert found.difference == 0.5
    assert not found.labels
    found.judge(Terms(most_difference=0.5))
    with pytest.raises(
        ProofError, match=r"differs from the champion's by 0\.5 on the last"
    ):
        found.judge(Terms(most_difference=0.4))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_where_the_champion_has_one_does_not_agree(
    value: float,
) -> None:
    found = answers(value)
    assert found.agreed == 10, "the rows where the champion has none either"
    with pytest.raises(ProofError, match=r"10 of the last 30 real rows \(33\.3%\)"):
        found.judge(Terms(least_agreement=0.9))


@pytest.mark.parametrize("labels", [np.array([0, 1, 1]), np.array(["a", "b", "b"], object)])
def test_labels_are_compared_by_equality(labels: np.ndarray) -> None:
    other = np.array([labels[1], labels[1], labels[1]], dtype=labels.dtype)
    found = compare(asked([labels], 10), lambda _inputs: {"": other}, classes=False)
    assert (found.rows, found.agreed, found.labels) == (30, 20, True)
    assert found.difference is None
    found.judge(Terms(least_agreement=0.66))
    with pytest.raises(
        ProofError, match=r"20 of the last 30 real rows \(66\.7%\) have the"
    ):
        found.judge(Terms(least_agreement=0.67))


def test_float_labels_of_a_classifier_are_labels() -> None:
    wanted = asked([[1.0, 2.0]], 10)
    found = compare(wanted, lambda _inputs: {"": np.array([1.0, 2.5])}, classes=True)
    assert (found.agreed, found.labels) == (10, True)


@pytest.mark.parametrize("outputs", [{}, {"": np.zeros((1, 2))}])
def test_an_answer_of_another_shape_counts_as_none(outputs: dict[str, np.ndarray]) -> None:
    found = compare(asked([[1.0]], 30), lambda _inputs: outputs, classes=False)
    assert (found.failed, found.agreed) == (30, 0)
    with pytest.raises(ProofError, match="30 got no answer"):
        found.judge(Terms(least_agreement=0.5))


def test_few_rows_are_reported_and_not_judged() -> None:
    wanted = asked([[1.0]], LEAST_ROWS - 1)
    found = compare(wanted, lambda _inputs: {"": np.array([9.0])}, classes=False)
    found.judge(Terms(least_agreement=1.0, most_difference=0.0))
    assert found.difference == 8.0


def test_a_candidate_too_far_from_the_champion_is_refused_with_the_numbers(
    store: Store,
) -> None:
    """Right by its own golden vectors, and yet not what the device is used to."""
    inputs = {"a": np.arange(30.0), "b": np.ones(30)}
    wanted = [Golden(inputs=inputs, outputs={"": 2.0 * (inputs["a"] + 1)})]
    digest = stored(store, made(version="2", scale=3.0))

    def rehearsal(**terms: float) -> Rehearsal:
        return Rehearsal(asked=wanted, terms=Terms(**terms))

    found = prove(store, digest, max_rss_bytes=ENOUGH, rehearsal=rehearsal)
    assert found.shadow is not None
    assert (found.shadow.rows, found.shadow.difference) == (30, 30.0)
    with pytest.raises(ProofError, match="by 30 on the last 30 real rows; up to 5 is"):
        prove(
            store,
            digest,
            max_rss_bytes=ENOUGH,
            rehearsal=lambda: rehearsal(most_difference=5.0),
        )
