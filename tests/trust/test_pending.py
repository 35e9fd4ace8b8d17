"""Pending proposals in a fleet's folder: which stay, and which make room."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgekit.cli import pending
from edgekit.trust.key_proposal import KeyProposal
from edgekit.trust.redraft import renewing
from edgekit.trust.repository import Repository
from tests.trust.workbench import Keys


def renewal(repository: Repository, keys: Keys, days_ago: int) -> KeyProposal:
    then = datetime.now(UTC) - timedelta(days=days_ago)
    return repository.propose_keys(renewing(["models"]), signers=keys.signers.get, now=then)


def test_what_says_the_same_stays_until_it_has_expired(
    repository: Repository, keys: Keys, tmp_path: Path
) -> None:
    path, _ = pending.keep(tmp_path, renewal(repository, keys, 600))
    fresh = renewal(repository, keys, 20)
    assert pending.keep(tmp_path, fresh) == (path, fresh)
    kept = path.read_bytes()
    again, _ = pending.keep(tmp_path, renewal(repository, keys, 0))
    assert again == path
    assert path.read_bytes() == kept


@pytest.mark.parametrize("content", [b"", b'{"format":99,"kind":"keys"}', b"my notes"])
def test_a_file_that_cannot_be_read_is_not_overwritten(
    repository: Repository, keys: Keys, tmp_path: Path, content: bytes
) -> None:
    """A newer edgekit may have written it, and people have signed it."""
    (tmp_path / "pending").mkdir()
    first = tmp_path / "pending" / "renew-models.json"
    first.write_bytes(content)
    path, _ = pending.keep(tmp_path, renewal(repository, keys, 0))
    assert path.name == "renew-models-2.json"
    assert first.read_bytes() == content
