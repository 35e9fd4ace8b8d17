"""Tell Home Assistant what to show of this device, and today's figures. Knows no broker.

One retained document for the whole device (MQTT device discovery, since Home Assistant
2024.11: home-assistant.io/integrations/mqtt, "Device discovery payload"), and one small
retained JSON that all its sensors read.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgekit import __version__
from edgekit.document import canonical_json
from edgekit.telemetry.counts import BundleCounts
from edgekit.telemetry.drift import Level, compare
from edgekit.telemetry.profile import Profile
from edgekit.telemetry.window import Health, Window, added
from edgekit.wire import Topics
from edgekit_agent.config import Config
from edgekit_agent.rules.state import ModelState

_FOREIGN = re.compile(r"[^A-Za-z0-9_-]+")  # what an id of Home Assistant must not hold
_DATE = slice(0, 10)  # of a time in UTC

Profiles = Callable[[str], Profile | None]
"""Return the profile of a bundle by its digest, None where it has none."""


@dataclass(slots=True)
class Today:
    """What was counted since midnight, UTC, and the machine's last state."""

    date: str = ""
    health: Health = field(default_factory=Health)
    bundles: tuple[BundleCounts, ...] = field(default_factory=tuple)

    def add(self, window: Window) -> None:
        """Count a window in; the first one of a day begins anew."""
        date = window.end[_DATE]
        if date != self.date:
            self.date, self.bundles = date, ()
        self.health = window.health
        self.bundles = added((*self.bundles, *window.bundles))


def object_id(config: Config) -> str:
    """Return the device's id: readable, and never that of another one."""
    name = f"{config.fleet}/{config.device}"
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"edgekit_{_FOREIGN.sub('_', name)[:100]}_{digest}"


def discovery_topic(config: Config, prefix: str) -> str:
    """Return where the discovery document goes, retained."""
    return f"{prefix}/device/{object_id(config)}/config"


def discovery(config: Config) -> bytes:
    """Return the discovery document: the machine's sensors, and five for each model."""
    topics, unique = Topics(fleet=config.fleet), object_id(config)
    components: dict[str, dict[str, object]] = {
        "cpu_temperature": {
            "p": "sensor",
            "name": "CPU temperature",
            "device_class": "temperature",
            "unit_of_measurement": "°C",
            "state_class": "measurement",
            "entity_category": "diagnostic",
            "value_template": "{{ value_json.cpu_c }}",
        }
    }
    for number, subscribed in enumerate(config.models):
        for key, sensor in _sensors(subscribed.model, number).items():
            components[f"model_{number}_{key}"] = sensor
    for key, component in components.items():
        component["unique_id"] = f"{unique}_{key}"
    return canonical_json(
        {
            "dev": {
                "ids": [unique],
                "name": config.device,
                "mf": "edgekit",
                "mdl": config.board,
                "sw": __version__,
            },
            "o": {"name": "edgekit-agent", "sw": __version__},
            "cmps": components,
            "state_topic": topics.figures(config.device),
            "qos": 1,
            "availability": [
                {
                    "topic": topics.presence(config.device),
                    "value_template": "{{ 'online' if value_json.online else 'offline' }}",
                }
            ],
        }
    )


def figures(
    config: Config, today: Today, states: Sequence[ModelState], profiles: Profiles
) -> bytes:
    """Return today's figures, as the sensors' templates read them; null is unknown."""
    current = {
        state.record.model: state.record.current
        for state in states
        if state.record.current is not None
    }
    models = []
    for subscribed in config.models:
        release = current.get(subscribed.model)
        own = [one for one in today.bundles if one.model == subscribed.model]
        serving = [one for one in own if release and one.sha256 == release.sha256]
        models.append(
            {
                "model": subscribed.model,
                "version": release.version if release else None,
                "requests": sum(one.requests for one in own),
                "errors": sum(one.errors + one.schema_violations for one in own),
                "p95_ms": round(serving[0].percentile_us(0.95) / 1000, 3)
                if serving
                else None,
                "drift": _drift(serving[0], profiles) if serving else None,
            }
        )
    return canonical_json(
        {"date": today.date, "cpu_c": today.health.cpu_c, "models": models}
    )


def _sensors(model: str, number: int) -> dict[str, dict[str, object]]:
    def sensor(key: str, name: str, **more: object) -> dict[str, object]:
        value = f"{{{{ value_json.models[{number}].{key} }}}}"
        return {"p": "sensor", "name": f"{model} {name}", "value_template": value, **more}

    counted = {"state_class": "total_increasing"}
    return {
        "version": sensor("version", "version"),
        "requests": sensor("requests", "requests today", **counted),
        "errors": sensor("errors", "errors today", **counted),
        "p95": sensor(
            "p95_ms",
            "p95",
            device_class="duration",
            unit_of_measurement="ms",
            state_class="measurement",
        ),
        "drift": sensor("drift", "drift (PSI)", state_class="measurement"),
    }


def _drift(counts: BundleCounts, profiles: Profiles) -> float | None:
    """Return the largest PSI of any column that chance does not explain.

    0 where none is above it; None where there are too few rows to tell, or no profile.
    """
    profile = profiles(counts.sha256)
    if profile is None:
        return None
    columns, seen = profile.inputs + profile.outputs, counts.inputs + counts.outputs
    if [len(column.histogram) for column in columns] != [len(one) for one in seen]:
        return None
    found = [compare(column, one) for column, one in zip(columns, seen, strict=True)]
    above = [one.psi for one in found if one.level in (Level.SHIFT, Level.DRIFT)]
    if above:
        return round(max(above), 3)
    known = any(one.level is Level.STABLE for one in found)
    return 0.0 if known else None
