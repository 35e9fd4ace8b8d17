"""The edgekit-agent command: options in, one call, output. Knows no details.

Data go to standard output, talk to standard error. Exit codes are those of edgekit's
errors (docs/cli.md).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from edgekit import __version__
from edgekit.errors import ConfigError, EdgekitError
from edgekit_agent import client, config
from edgekit_agent.config import CONFIG_VARIABLE, DEFAULT_PATH, Config, Environment
from edgekit_agent.rules.hook import Answer, Hook
from edgekit_agent.storage.store import Store
from edgekit_agent.supervision import report, trial
from edgekit_agent.supervision.refusals import Refused

_EXIT_CODES = """\
exit codes: 0 done, 1 the doctor found trouble or a hook did not agree, 2 usage,
3 configuration or unknown model, 8 no agent or broker answers, 9 the rows do not fit
the model's signature, 10 disk, 70 models in the agent's own process (serving.process)
hung and were ended with it
"""
_DESCRIPTION = """\
Fetch the models this device is meant to run, prove them here, serve them, undo what
misbehaves, and report. `run` is the daemon; the other commands talk about it.
"""
_RUN = """\
Run the daemon: it serves what is on the disk at once, connects to the broker of its
provisioning file, and follows the stages named there until SIGTERM.

  edgekit-agent run --config agent.toml

`edgekit device enroll pi-7 --board raspberry-pi-4` writes that file on the operator's
machine. Under systemd, use systemd/edgekit-agent.service.
"""
_PREDICT = """\
Ask the running daemon for predictions. Rows are JSON: a list of objects, or a request of
MLflow's scoring protocol (dataframe_split, dataframe_records, instances, inputs).

  echo '[{"alcohol": 13.2, "hue": 1.05}]' | edgekit-agent predict wine
  edgekit-agent predict wine rows.json

Rows that the model's signature refuses are refused with MLflow's sentence, exit code 9.
"""
_STATUS = """\
Say which version of each model this device runs, since when, what went wrong last, and
what the agent has refused before any model saw it, up to the last minute. It reads the
disk, so it works when the daemon is down.

  edgekit-agent status
  edgekit-agent status --json | jq '.models[].current.version'
"""
_DOCTOR = """\
Say why this device does not update: its system, its state folder, the agent, the broker,
the depot, the fleet's signatures, and whether what is offered fits here. It changes
nothing, and the agent may run meanwhile. Run it as the agent's user.

  sudo -u edgekit edgekit-agent doctor
  edgekit-agent doctor --json | jq '.findings[] | select(.level == "trouble")'

Exit code 1 when something stands in the way of an update.
"""
_TRY_HOOK = """\
Run a program of /etc/edgekit/hooks (see docs/hooks.md) as the agent would, with the
variables of the model that serves now: to see what it prints, how long it takes, and
what its end means to the agent. Nothing else happens. Run it as the agent's user.

  sudo -u edgekit edgekit-agent try-hook pre-activate wine

Exit code 1 when it does not say "go".
"""
_HOOKS = f"one of {', '.join(Hook)}"
_TROUBLE = 1  # exit code of the doctor, and of a hook that does not agree


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one subcommand; on EdgekitError say it and exit with its code."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except EdgekitError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgekit-agent",
        description=_DESCRIPTION,
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = _command(commands, "run", "run the daemon", _RUN)
    run.set_defaults(command=_run)
    predict = _command(commands, "predict", "ask for predictions", _PREDICT)
    predict.add_argument("model", metavar="MODEL", help="name of the registered model")
    predict.add_argument(
        "rows",
        metavar="FILE",
        nargs="?",
        type=Path,
        help="JSON file with the rows (default: standard input)",
    )
    predict.add_argument(
        "--socket", type=Path, help="the daemon's socket (default: from --config)"
    )
    predict.set_defaults(command=_predict)
    status = _command(commands, "status", "say what runs here", _STATUS)
    status.add_argument(
        "--json", action="store_true", dest="as_json", help="print JSON for a script"
    )
    status.set_defaults(command=_status)
    hook = _command(commands, "try-hook", "run a hook as the agent would", _TRY_HOOK)
    hook.add_argument("hook", metavar="HOOK", choices=list(Hook), type=Hook, help=_HOOKS)
    hook.add_argument("model", metavar="MODEL", help="name of the registered model")
    hook.set_defaults(command=_try_hook)
    doctor = _command(commands, "doctor", "say why nothing updates", _DOCTOR)
    doctor.add_argument(
        "--json", action="store_true", dest="as_json", help="print JSON for a script"
    )
    doctor.set_defaults(command=_doctor)
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=text,
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"provisioning file (default: ${CONFIG_VARIABLE}, else {DEFAULT_PATH})",
    )
    return parser


def _config(options: argparse.Namespace) -> Config:
    return config.load(options.config or Environment.read().config)


def _run(options: argparse.Namespace) -> None:
    from edgekit_agent import daemon  # noqa: PLC0415 - the other commands need no broker

    environment = Environment.read()
    path = options.config or environment.config
    daemon.run(path, config.load(path), environment)


def _predict(options: argparse.Namespace) -> None:
    socket = options.socket or _config(options).socket
    found = client.predict(socket, options.model, client.payload(_rows(options.rows)))
    sys.stdout.write(found.body.decode() + "\n")


def _rows(path: Path | None) -> bytes:
    if path is None:
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def _status(options: argparse.Namespace) -> None:
    settings = _config(options)
    store = Store(settings.state_dir)
    serving = client.answers(settings.socket)
    models = [report.model_table(store.load(wanted)) for wanted in settings.models]
    refused = Refused.read(settings.runtime_dir)
    if options.as_json:
        found = {
            "device": settings.device,
            "serving": serving,
            "models": models,
            "refusals": refused and asdict(refused),
        }
        sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        return
    state = "answers" if serving else "does not answer"
    sys.stdout.write(f"{settings.device} ({settings.board}): the agent {state}\n")
    for model in models:
        sys.stdout.write("".join(f"{line}\n" for line in _lines(model)))
    if refused and refused.counts:
        told = ", ".join(f"{label} {count}" for label, count in refused.counts.items())
        sys.stdout.write(f"refused since {refused.since}: {told}\n")


def _try_hook(options: argparse.Namespace) -> None:
    told = trial.run(_config(options), options.hook, options.model)
    sys.stdout.write(told.output)
    again = f", asked again after {told.again_s} s" if told.answer is Answer.NOT_NOW else ""
    sys.stderr.write(f"{told.answer}: {told.reason} ({told.took_ms} ms{again})\n")
    if told.answer is not Answer.GO:
        sys.exit(_TROUBLE)


def _doctor(options: argparse.Namespace) -> None:
    from edgekit_agent.diagnosis import doctor  # noqa: PLC0415 - needs tuf and a broker
    from edgekit_agent.diagnosis.finding import Level  # noqa: PLC0415 - only needed here

    settings = _config(options)
    found = []
    for finding in doctor.examine(settings):
        found.append(finding)
        if not options.as_json:
            sys.stdout.write(f"{finding.level.value:8} {finding.subject}: {finding.fact}\n")
            if finding.advice:
                sys.stdout.write(f"{'':8} -> {finding.advice}\n")
            sys.stdout.flush()
    if options.as_json:
        table = {
            "device": settings.device,
            "findings": [finding.to_table() for finding in found],
        }
        sys.stdout.write(json.dumps(table, indent=2, ensure_ascii=False) + "\n")
    if any(finding.level is Level.TROUBLE for finding in found):
        sys.exit(_TROUBLE)


def _lines(model: dict[str, object]) -> list[str]:
    head = f"{model['model']} ({model['stage']}): {model['phase']}"
    found = [head]
    for key in ("current", "previous", "candidate"):
        release = model[key]
        if isinstance(release, dict):
            since = f", since {release['since']}" if release["since"] else ""
            digest = str(release["sha256"])[:12]
            words = f"version {release['version']}, {release['flavor']}, {digest}{since}"
            found.append(f"  {key:9} {words}")
    trouble = model["trouble"]
    if isinstance(trouble, dict):
        again = trouble["again_s"]
        when = "" if again is None else f", tried again after {again} s"
        words = f"{trouble['kind']}: {trouble['reason']} ({trouble['at']}{when})"
        found.append(f"  {'trouble':9} {words}")
    hook = model["hook"]
    if isinstance(hook, dict):
        words = f"{hook['hook']} said {hook['answer']} after {hook['took_ms']} ms"
        found.append(f"  {'hook':9} {words} ({hook['at']})")
    return found


if __name__ == "__main__":
    main()
