"""The SSH connection to a rig: it ends when the rig is gone, and when the user wants it."""

from __future__ import annotations

import signal
import socket
import threading
import time
from weakref import WeakKeyDictionary, WeakSet

from paramiko import Channel, ChannelException, SSHClient, Transport

# A rig that vanishes without a word must not hang the run: it is noticed within two minutes.
SILENCE_SECONDS = 60
_ASKED_EVERY_SECONDS = SILENCE_SECONDS // 4
# A rig may allow one session, and a busy one takes its time to end the one before.
_FULL_SECONDS, _FULL_STEP_SECONDS = 10, 0.2

_known: WeakSet[SSHClient] = WeakSet()
_signs: WeakKeyDictionary[Transport, int] = WeakKeyDictionary()


def watched(client: SSHClient | None) -> Transport:
    """The transport of a connection, which is closed once the rig answers nothing, and by Ctrl-C.

    Raises:
        EOFError: it is gone.
    """
    transport = client.get_transport() if client else None
    if client is None or transport is None or not transport.is_active():
        raise EOFError("the SSH connection is gone")
    if client in _known:
        return transport
    # pyinfra 3.10 says that it exits by Ctrl-C, and then waits for every command that runs. Closing the connections
    # ends the waiting, not the work: long jobs on the rig are units of their own.
    if not _known:
        signal.signal(signal.SIGINT, _interrupt)
    _known.add(client)
    if isinstance(transport.sock, socket.socket):
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_SECONDS * 1000)
    # Behind a jump host there is no socket that would notice.
    threading.Thread(target=_watch, args=(transport,), daemon=True).start()
    return transport


def open_session(client: SSHClient | None) -> Channel:
    """A new session on a connection; a rig that has no place for it yet is asked again for a while.

    Raises:
        EOFError, OSError, SSHException: the connection failed, or the rig allows no session.
    """
    transport = watched(client)
    until = time.monotonic() + _FULL_SECONDS
    while True:
        try:
            return transport.open_session(timeout=SILENCE_SECONDS)
        except ChannelException:
            if time.monotonic() > until:
                raise
            time.sleep(_FULL_STEP_SECONDS)


def lives(transport: Transport) -> None:
    """Something was sent: over a slow line an answer waits behind megabytes that are on their way."""
    _signs[transport] = _signs.get(transport, 0) + 1


def answers(transport: Transport, seconds: float) -> bool:
    """Whether the rig answers within a time. paramiko 4 waits for such an answer for ever."""
    request = {"kind": "keepalive@openssh.com", "wait": True}
    asked = threading.Thread(target=transport.global_request, kwargs=request, daemon=True)
    asked.start()
    asked.join(seconds)
    return not asked.is_alive()


def _watch(transport: Transport) -> None:
    while transport.is_active():
        signs = _signs.get(transport)
        if not answers(transport, SILENCE_SECONDS) and _signs.get(transport) == signs:
            transport.close()
            return
        time.sleep(_ASKED_EVERY_SECONDS)


def _interrupt(number: int, frame: object) -> None:
    for client in list(_known):
        client.close()
    raise SystemExit(128 + number)
