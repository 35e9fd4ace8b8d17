"""Publish what the device reports of itself: state, presence, figures. Knows no rules.

Telemetry has a spool, and a file of its own (edgekit_agent.supervision.telemetry). A broker
that cannot be reached costs nothing but the report: all of it is published again at every
connection.
"""

import logging
from collections.abc import Sequence

from edgekit.errors import TransportError
from edgekit.telemetry.window import Window
from edgekit.transport import Transport
from edgekit.wire import Topics
from edgekit_agent.config import Config
from edgekit_agent.rules.state import ModelState, Moment
from edgekit_agent.supervision import home_assistant, report
from edgekit_agent.supervision.freshness import Freshness
from edgekit_agent.supervision.home_assistant import Profiles, Today

log = logging.getLogger(__name__)


class Reporter:
    """The device's side of its retained topics. Used by one thread."""

    def __init__(
        self, config: Config, transport: Transport, boot_id: str, profiles: Profiles
    ) -> None:
        self._config = config
        self._transport = transport
        self._topics = Topics(fleet=config.fleet)
        self._boot_id = boot_id
        self._states_sent = 0
        self._profiles = profiles
        self._today = Today()
        self._figures = b""  # as they were published last

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

    def figures(self, window: Window, states: Sequence[ModelState]) -> None:
        """Publish today's figures for Home Assistant, retained, where that is wanted."""
        if self._config.home_assistant is None:
            return
        self._today.add(window)
        told = home_assistant.figures(self._config, self._today, states, self._profiles)
        if told != self._figures:
            self._figures = told
            self._publish(self._topics.figures(self._config.device), told, retain=True)

    def discoverable(self) -> None:
        """Publish what Home Assistant may show, retained, where that is wanted."""
        prefix = self._config.home_assistant
        if prefix is not None:
            topic = home_assistant.discovery_topic(self._config, prefix)
            self._publish(topic, home_assistant.discovery(self._config), retain=True)

    def _publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        try:
            self._transport.publish(topic, payload, retain=retain)
        except TransportError as error:
            log.warning("not reported: %s", error)
