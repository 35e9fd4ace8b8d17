"""Publish what the device reports: state, presence, telemetry. Knows no rules.

A broker that cannot be reached costs nothing but the report: state and presence are
published again at every connection.
"""

import logging
from collections.abc import Sequence

from edgekit.document import canonical_json
from edgekit.errors import TransportError
from edgekit.transport import Transport
from edgekit.wire import Topics
from edgekit_agent import memory
from edgekit_agent.config import Config
from edgekit_agent.rules.state import ModelState, Moment
from edgekit_agent.service.telemetry import Window
from edgekit_agent.supervision import report
from edgekit_agent.supervision.attendant import Stats
from edgekit_agent.supervision.freshness import Freshness

log = logging.getLogger(__name__)


class Reporter:
    """The device's side of its three topics. Used by one thread."""

    def __init__(self, config: Config, transport: Transport, boot_id: str) -> None:
        self._config = config
        self._transport = transport
        self._topics = Topics(fleet=config.fleet)
        self._boot_id = boot_id
        self._states_sent = 0
        self._windows_sent = 0
        self._window_began = ""
        self._window_ends_s = 0.0

    def begin(self, at: Moment) -> None:
        """Start the first telemetry window."""
        self._window_began = at.utc
        self._window_ends_s = at.s + self._config.telemetry_interval_s

    def state(
        self,
        states: Sequence[ModelState],
        at: Moment,
        *,
        onnxruntime: str,
        freshness: Freshness,
    ) -> None:
        """Publish what runs here, retained."""
        self._states_sent += 1
        text = report.reported_state(
            self._config,
            states,
            boot_id=self._boot_id,
            seq=self._states_sent,
            at=at.utc,
            onnxruntime=onnxruntime,
            freshness=freshness,
        )
        self._publish(self._topics.state(self._config.device), text, retain=True)

    def present(self, at: Moment) -> None:
        """Publish that the device is here, retained."""
        text = report.online(boot_id=self._boot_id, at=at.utc)
        self._publish(self._topics.presence(self._config.device), text, retain=True)

    def goodbye(self) -> None:
        """Publish that the device is gone, retained."""
        presence = self._topics.presence(self._config.device)
        self._publish(presence, report.offline(), retain=True)

    def window_due(self, at: Moment) -> bool:
        """Whether the telemetry window is over; the next one then begins."""
        if at.s < self._window_ends_s:
            return False
        self._window_ends_s = at.s + self._config.telemetry_interval_s
        return True

    def window(self, stats: Stats, at: Moment) -> None:
        """Publish what was counted since the last window."""
        self._windows_sent += 1
        window = Window(
            device=self._config.device,
            boot_id=self._boot_id,
            seq=self._windows_sent,
            start=self._window_began,
            end=at.utc,
            supervisor_rss_bytes=memory.rss_bytes(),
            worker_rss_bytes=stats.rss_bytes,
            models=stats.models,
        )
        self._window_began = at.utc
        topic = self._topics.telemetry(self._config.device)
        self._publish(topic, canonical_json(window.to_table()), retain=False)

    def _publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        try:
            self._transport.publish(topic, payload, retain=retain)
        except TransportError as error:
            log.warning("not reported: %s", error)
