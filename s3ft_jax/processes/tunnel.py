"""A port of this machine that leads to another machine's, and stays open when that one is gone.

JAX's client ends its process by SIGABRT, in the same moment and without a word for people, when its connection to
process 0 closes. Through a tunnel it does not see that; the link does, and says who is gone and where it stood.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

_PIECE = 1 << 16


class Tunnel:
    """Open while this process lives.

    Args:
      host, port: where it leads.
      seconds: for how long the other end is tried where nobody listens there yet.

    Attributes:
      address: ``127.0.0.1:PORT``, where it begins.
    """

    def __init__(self, host: str, port: int, seconds: float):
        self._to, self._seconds = (host, port), seconds
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._ends: list[socket.socket] = []  # kept, else they are closed
        threading.Thread(target=self._accept, name="tunnel", daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            threading.Thread(target=self._lead, args=(near,), name="tunnel", daemon=True).start()

    def _lead(self, near: socket.socket) -> None:
        far = self._reach()
        if far is None:
            near.close()
            return
        self._ends += [near, far]
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_pump, args=(far, near), name="tunnel", daemon=True).start()
        _pump(near, far)
        with contextlib.suppress(OSError):
            far.shutdown(socket.SHUT_WR)

    def _reach(self) -> socket.socket | None:
        until = time.monotonic() + self._seconds
        while time.monotonic() < until:
            try:
                far = socket.create_connection(self._to, timeout=10)
            except OSError:
                time.sleep(0.1)
            else:
                far.settimeout(None)
                return far
        return None


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Until ``source`` ends; what cannot be handed on is lost, as it is when the other end is gone."""
    with contextlib.suppress(OSError):
        while data := source.recv(_PIECE):
            target.sendall(data)
