"""The miner's key file and listening socket, where they cannot be had."""

import socket
from pathlib import Path

import pytest

from validator.door import Door
from validator.errors import BadInput
from validator.miner.tls import TlsIdentity


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\n", b"\x00" * 100])
def test_a_key_file_that_holds_no_key_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tls.pem").write_bytes(content)
    with pytest.raises(BadInput, match="holds no TLS key"):
        TlsIdentity(tmp_path / "tls.pem")


def test_a_port_in_use_leaves_no_socket_behind() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            Door("127.0.0.1", taken.getsockname()[1])
