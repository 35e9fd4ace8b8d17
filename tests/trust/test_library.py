"""What edgekit leans on in python-tuf, and when it is loaded at all."""

import subprocess
import sys

import pytest
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from edgekit.trust.fetcher import SourceFetcher
from edgekit.trust.updater import GuardedUpdater
from tests.trust.simulator import Files


@pytest.mark.parametrize(
    "name",
    [
        "_load_root",
        "_load_snapshot",
        "_load_targets",
        "_load_timestamp",
        "_persist_file",
        "_persist_metadata",
        "_persist_root",
    ],
)
def test_the_protected_names_of_the_updater_still_exist(name: str) -> None:
    assert callable(getattr(Updater, name))
    assert hasattr(GuardedUpdater, name)


def test_the_fetcher_is_asked_through_the_method_that_bounds_lengths() -> None:
    assert "download_bytes" in vars(FetcherInterface)
    assert "download_bytes" in vars(SourceFetcher)


def test_the_fetcher_unquotes_what_the_updater_quotes() -> None:
    source = Files({"3.stage-my%20stage.json": b"metadata"})
    fetcher = SourceFetcher(source)
    url = "source:///3.stage-my%2520stage.json"
    assert fetcher.download_bytes(url, 99) == b"metadata"
    assert b"".join(fetcher.fetch(url)) == b"metadata"
    with pytest.raises(DownloadHTTPError):
        fetcher.download_bytes("source:///4.root.json", 99)


@pytest.mark.parametrize(
    "module", ["edgekit.trust", *(f"edgekit.trust.{m}" for m in ("expiry", "vouched"))]
)
def test_a_resident_process_need_not_load_tuf(module: str) -> None:
    script = (
        f"import sys, {module}, edgekit.trust.source, edgekit.trust.shelf\n"
        "heavy = {'tuf', 'securesystemslib', 'cryptography'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
