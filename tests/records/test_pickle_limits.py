"""Limits of pickles."""

import io
import pickle
import struct

import pytest

from records.pickle_limits import check_pickle


@pytest.mark.parametrize("protocol", range(6))
def test_ordinary_pickles_are_scanned_to_their_end(protocol):
    data = pickle.dumps({"a": [1.5, "text", b"bytes", (1, 2)] * 100}, protocol)
    file = io.BytesIO(data + b"rest")
    check_pickle(file, len(data))
    assert file.read() == b"rest"


@pytest.mark.parametrize(
    ("opcodes", "message"),
    [
        (b"Nr" + struct.pack("<I", 2**32 - 2) + b".", "LONG_BINPUT 4294967294 exceeds the size of the file"),
        (b"Np99999999999\n.", "PUT 99999999999 exceeds the size of the file"),
        (b"\x95" + struct.pack("<Q", 2**63) + b"N.", "FRAME 9223372036854775808 exceeds the size of the file"),
        (b"\x8e" + struct.pack("<Q", 2**62) + b".", "expected 4611686018427387904 bytes"),
        (b"}N" + b"\x85" * 200_000 + b"Ns.", "it contains too many objects"),
        (b"(" * 1_100_000, "it contains too many objects"),
        (b"cbuiltins\nbytearray\nJ" + struct.pack("<i", 2**31 - 1) + b"\x85R.", "it calls bytearray"),
        (b"\x8c\x08builtins\x8c\x09bytearray\x93.", "it calls bytearray"),
        (b"N", "pickle exhausted before seeing STOP"),
    ],
)
def test_absurd_pickles_are_rejected(opcodes, message):
    data = b"\x80\x04" + opcodes
    with pytest.raises(ValueError, match=message):
        check_pickle(io.BytesIO(data), len(data))
