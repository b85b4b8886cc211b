"""Processes room: messages between two processes, one JSON object a line, over a TCP connection."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import Any

MAX_BYTES = 1 << 24
"""Of one message before both ends know each other; a config has some thousand."""


class Lines:
    """One end of a connection. Any thread may send; one reads.

    Args:
      connection: a connected socket, whose time limit holds for every send and receive.
    """

    def __init__(self, connection: socket.socket):
        self._connection, self._lock, self._rest = connection, threading.Lock(), bytearray()
        self._max_bytes = MAX_BYTES
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def limit(self, seconds: float | None, max_bytes: int = MAX_BYTES) -> None:
        """Of a send or a receive from now on, None: none; and of one message."""
        self._connection.settimeout(seconds)
        self._max_bytes = max_bytes

    def send(self, message: dict[str, Any]) -> None:
        """Raises OSError: the other end is gone."""
        data = json.dumps(message).encode() + b"\n"
        with self._lock:
            self._connection.sendall(data)

    def receive(self) -> dict[str, Any] | None:
        """The next message; None where the other end has closed.

        Raises:
          OSError: the connection broke, or nothing came within the limit.
          ValueError: what came is not of ours.
        """
        looked = 0
        while (end := self._rest.find(b"\n", looked)) < 0:
            looked = len(self._rest)
            data = self._connection.recv(1 << 16)
            if not data:
                return None
            self._rest += data
            if len(self._rest) > self._max_bytes:
                raise ValueError("a message without an end")
        line, self._rest = bytes(self._rest[:end]), self._rest[end + 1 :]
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError("not a message")
        return message

    def close(self) -> None:
        """End the connection; a thread that reads from it sees its end."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
