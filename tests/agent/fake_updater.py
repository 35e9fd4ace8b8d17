"""An updater that needs no broker: it does what a plan file says, in the real words.

The plan is read anew by every process: model name -> {"bundle": path, "release": {...}},
{"nothing": true}, {"error", "reason", "final", "refused"}, {"crash": true} or {"hang":
true}.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from edgekit_agent import lines
from edgekit_agent.storage import bundles
from edgekit_agent.storage.store import Store


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("plan", type=Path)
    parser.add_argument("state_dir", type=Path)
    parser.add_argument("--model")
    arguments = parser.parse_args()
    voice = lines.Voice.claim()
    answered = threading.Event()
    lines.end_with(sys.stdin, lambda _line: answered.set())
    plan = json.loads(arguments.plan.read_text()).get(arguments.model, {"nothing": True})
    if "crash" in plan:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in plan:
        time.sleep(3600)
    if "nothing" in plan:
        voice.say("nothing")
        return
    if "release" in plan:
        _fetch(plan, Store(arguments.state_dir), voice, answered)
    else:
        _fail(plan, voice)


def _fetch(
    plan: dict[str, dict[str, str]],
    store: Store,
    voice: lines.Voice,
    answered: threading.Event,
) -> None:
    digest = plan["release"]["sha256"]
    stored = bundles.holds(store, digest)
    voice.say("resolved", release=plan["release"], stored=stored)
    answered.wait()
    if "error" in plan:
        _fail(plan, voice)
        return
    if not stored:
        bundles.add(store, digest, Path(str(plan["bundle"])))
    voice.say("fetched", sha256=digest)


def _fail(plan: dict[str, dict[str, str]], voice: lines.Voice) -> None:
    if "refused" in plan:
        voice.say("refused", chunks=plan["refused"])
    final = bool(plan.get("final"))
    voice.say("failed", error=plan["error"], reason=plan["reason"], final=final)


if __name__ == "__main__":
    main()
