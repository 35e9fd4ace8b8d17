"""Wait for a broker that is not there yet, saying so. Knows no topics.

For commands that run on and on: one that begins while its broker starts, or while a node
of a cluster dies, need not end for that. One that the broker refuses shall.
"""

import random
import time
from collections.abc import Callable

from edgekit.errors import TransportError
from edgekit.mqtt import MqttTransport
from edgekit.session import Backoff


def connect_when_up(
    connect: Callable[[], MqttTransport],
    *,
    tell: Callable[[str], object],
    wait: Callable[[float], None] = time.sleep,
    backoff: Backoff | None = None,
) -> MqttTransport:
    """Return what `connect` opens as soon as it can.

    `tell` is given one line before each wait. `wait` waits for so many seconds; what it
    raises to end the waiting comes through. TransportError when its reason is lasting.
    """
    backoff, chance = backoff or Backoff(), random.SystemRandom()
    failures = 0
    while True:
        try:
            return connect()
        except TransportError as error:
            if error.lasting:
                raise
            delay_s = backoff.delay_s(failures, chance.random())
            tell(f"{error}; trying again in {delay_s:.1f} s")
        wait(delay_s)
        failures += 1
