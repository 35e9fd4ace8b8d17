"""One device as a process: reads a bundle's index from retained messages, fetches it.

Arguments: broker URL, device, folder, release record file. Prints "ready" and waits for
the end of its standard input; then the bytes it starts with, each tenth, and "done".
"""

import sys
from pathlib import Path

from edgekit.mqtt import Backoff, BrokerAddress, MqttTransport, SessionOptions
from edgekit.statement import ReleaseRecord
from edgekit.wire import MAX_PAYLOAD_BYTES, Topics
from edgekit_agent.update.fetch import fetch_bundle
from edgekit_agent.update.metadata import RetainedFiles


def main(url: str, device: str, folder: Path, record: Path) -> None:
    entry = ReleaseRecord.from_json(record.read_bytes()).bundles[0]
    topics = Topics(fleet="demo")
    options = SessionOptions(backoff=Backoff(first_s=0.05, most_s=0.2), patient=True)
    transport = MqttTransport.connect(
        BrokerAddress(url=url), client_id=device, options=options
    )
    source = RetainedFiles(transport, topics)
    index = source.file(f"index/{entry.index_sha256}", MAX_PAYLOAD_BYTES)
    source.close()
    if index is None:
        sys.exit("no index")
    say("ready")
    sys.stdin.read()
    tenths = -1

    def progress(here: int, everything: int) -> None:
        nonlocal tenths
        if 10 * here // everything > tenths:
            tenths = 10 * here // everything
            say(str(here))

    fetch_bundle(transport, topics, device, entry, index, folder, progress=progress)
    transport.close()
    say("done")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
