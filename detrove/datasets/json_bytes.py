"""JSON to bytes and back: by msgspec where it is installed, several times as fast, else by Python's json."""

import json
from typing import Any

try:
    import msgspec
except ImportError:
    msgspec = None


def from_json(data: bytes | memoryview) -> Any:
    """Parse; what msgspec refuses and Python's json takes (NaN) is taken.

    Raises:
        ValueError: it is not JSON.
    """
    if msgspec is not None:
        try:
            return msgspec.json.decode(data)
        except msgspec.DecodeError:
            pass  # Python's json decides
    return json.loads(bytes(data))


def to_json(content: Any) -> bytes:
    """Write as compactly as it goes. `from_json` gives equal content back, with lists for tuples; NaN may become null.

    Raises:
        TypeError: something in it has no form in JSON.
    """
    if msgspec is not None:
        try:
            return msgspec.json.encode(content)
        except UnicodeEncodeError:
            pass  # half a surrogate pair, which Python's json writes as \u....
    return json.dumps(content, separators=(',', ':')).encode()
