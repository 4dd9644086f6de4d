"""Label maps that no decoder should open; damaged ones of all kinds are in tests/fuzz."""

import struct

import pytest

from detrove.datasets.label_map_file import LoadAnnotations


def test_a_map_that_claims_gigabytes(tmp_path):
    path = tmp_path / 'map.png'
    path.write_bytes(b'BM' + struct.pack('<IIIIiiHH', 98, 0, 62, 40, 180_000, 180_000, 1, 8) + bytes(68))
    with pytest.raises(ValueError, match='map.png cannot be read as a label map: .*32400000000 pixels'):
        LoadAnnotations()(dict(seg_map_path=str(path), seg_fields=[], reduce_zero_label=False, label_map=None))
