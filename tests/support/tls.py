"""TLS before a server on this machine that has none, with a certificate that nobody else trusts."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest


class TlsFront:
    """Listens on a free port of 127.0.0.1 and passes everything on.

    Attributes:
        certificate: file of the certificate, which is its own authority.
    """

    def __init__(self, folder: Path, port: int) -> None:
        program = shutil.which("openssl") or pytest.skip("there is no openssl to make a certificate with")
        self.certificate, key, self._behind = folder / "certificate.pem", folder / "key.pem", port
        wanted = "req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=localhost"
        files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(self.certificate)]
        subprocess.run([program, *wanted.split(), *files], check=True, capture_output=True)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """No more connections."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._pass_on, args=(self._listening.accept()[0],), daemon=True).start()

    def _pass_on(self, plain: socket.socket) -> None:
        # Who does not trust the certificate goes away in the middle of its greeting.
        with (
            contextlib.suppress(OSError),
            plain,
            self._context.wrap_socket(plain, server_side=True) as outer,
            socket.create_connection(("127.0.0.1", self._behind)) as inner,
        ):
            back = threading.Thread(target=_copy, args=(inner, outer), daemon=True)
            back.start()
            _copy(outer, inner)
            inner.shutdown(socket.SHUT_RDWR)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while read := source.recv(1 << 16):
            target.sendall(read)
