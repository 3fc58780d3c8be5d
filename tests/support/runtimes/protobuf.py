"""The part of the protobuf wire format that requests and responses of CRI need."""

import itertools
from collections.abc import Mapping

Field = str | bytes | int | Mapping[str, str]


def encode(fields: Mapping[int, Field]) -> bytes:
    """Encode a message of strings, messages, enums and maps of strings."""
    return b"".join(itertools.starmap(_field, fields.items()))


def _field(number: int, value: Field) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, Mapping):
        entries = (encode({1: key, 2: text}) for key, text in value.items())
        return b"".join(_field(number, entry) for entry in entries)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def decode_first_string(message: bytes) -> str:
    """Decode field 1 of a response, a string shorter than 128 bytes."""
    assert message[:1] == b"\x0a", message
    assert message[1] < 0x80, message
    return message[2 : 2 + message[1]].decode()
