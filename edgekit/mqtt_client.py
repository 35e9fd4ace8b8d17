"""paho's client, as edgekit uses it: bounded, read ahead, without Nagle's delay.

Knows no topics and no queues of edgekit; edgekit.mqtt drives it.
"""

import socket
import ssl

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from edgekit.address import BrokerAddress
from edgekit.mqtt_trouble import Trouble, of_error
from edgekit.session import LastWill
from edgekit.wire import MAX_PAYLOAD_BYTES

MAX_PACKET_BYTES = 2 * MAX_PAYLOAD_BYTES  # a message, its topic, and as much again
MAX_UNSENT = 1000  # QoS 1 messages that wait for the broker
READ_AHEAD_BYTES = 4096  # a header and some small messages; the rest of a chunk is not
_MAX_IN_FLIGHT = 100


class MqttClient(paho.Client):
    """Reads no packet longer than edgekit's are, and reads ahead.

    A packet's header may promise 256 MB, and paho makes room for them: more than a small
    device has. It also asks the system for each byte of a header alone. It has no setting
    for either in MQTT 3.1.1, so a protected method is bounded, and fed from what was read
    ahead; tests/core/test_mqtt_hostile.py notices when paho no longer calls it.
    """

    trouble: Trouble | None = None  # why reading ended, where paho does not say
    ahead = b""  # was read and not asked for yet

    def reconnect(self) -> MQTTErrorCode:
        """Connect, again or for the first time; OSError when that fails."""
        self.ahead = b""
        return super().reconnect()

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > MAX_PACKET_BYTES:
            reason = f"the broker sends a packet of {bufsize} bytes, up to"
            self.trouble = Trouble(f"{reason} {MAX_PACKET_BYTES} are read")
            raise ConnectionAbortedError(self.trouble.reason)
        if not self.ahead:
            if bufsize >= READ_AHEAD_BYTES:
                return self._read(bufsize)
            self.ahead = self._read(READ_AHEAD_BYTES)
        data, self.ahead = self.ahead[:bufsize], self.ahead[bufsize:]
        return data

    def _read(self, most: int) -> bytes:
        """Read from the socket; note what TLS says, which may come after its handshake."""
        try:
            return bytes(super()._sock_recv(most))
        except ssl.SSLError as error:
            self.trouble = of_error(error)
            raise


def new_client(address: BrokerAddress, client_id: str, will: LastWill | None) -> MqttClient:
    """Return a client of clean sessions that is not connected yet."""
    client = MqttClient(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=True,
        protocol=paho.MQTTv311,
        reconnect_on_failure=False,
    )
    client.max_queued_messages_set(MAX_UNSENT)
    client.max_inflight_messages_set(_MAX_IN_FLIGHT)
    if address.username is not None:
        client.username_pw_set(address.username, address.password())
    if address.tls:
        client.tls_set_context(address.tls_context())
    if will is not None:
        client.will_set(will.topic, will.payload, will.qos, will.retain)
    client.on_socket_open = _send_small_packets_at_once
    client.on_socket_register_write = _leave_writing_to_the_network_thread
    return client


def _send_small_packets_at_once(
    _client: paho.Client, _data: object, sock: "paho.SocketLike"
) -> None:
    """Switch Nagle's algorithm off: a metadata refresh took 440 ms with it, 15 without."""
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _leave_writing_to_the_network_thread(
    _client: paho.Client, _data: object, _sock: object
) -> None:
    """Keep paho from writing in the publisher's thread, beside the network thread."""
