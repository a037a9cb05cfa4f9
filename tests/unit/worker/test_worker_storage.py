"""Results are there whole or not at all."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from worker.errors import TransientError
from worker.storage import FolderStorage, is_whole_mp4, open_storage


def box(kind: bytes, size: int = 8) -> bytes:
    return struct.pack(">I4s", size, kind) + bytes(size - 8)


WHOLE = box(b"ftyp", 20) + box(b"moov", 40) + box(b"mdat", 500)


def whole(raw: bytes) -> bool:
    return is_whole_mp4(io.BytesIO(raw), len(raw))


def test_a_whole_file_is_known_from_a_torn_one() -> None:
    assert whole(WHOLE)
    assert whole(box(b"ftyp") + struct.pack(">I4sQ", 1, b"mdat", 26) + bytes(10) + box(b"moov"))
    for length in range(len(WHOLE)):
        assert not whole(WHOLE[:length])
    assert not whole(box(b"ftyp", 20) + box(b"mdat", 500))


@given(st.binary(max_size=200))
def test_no_bytes_break_the_check(raw: bytes) -> None:
    assert not whole(raw + b"x") or raw


def test_keeping_moves_the_file_to_its_place(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path / "videos")
    made = storage.workplace("job")
    made.write_bytes(WHOLE)
    assert made.parent == tmp_path / "videos"
    assert not storage.has_whole("job")
    assert storage.keep("job", made) == str(tmp_path / "videos" / "job.mp4")
    assert storage.has_whole("job")
    assert [p.name for p in (tmp_path / "videos").iterdir()] == ["job.mp4"]


def test_a_torn_file_never_becomes_a_result(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    made = storage.workplace("job")
    made.write_bytes(WHOLE[:-1])
    with pytest.raises(TransientError, match="no whole video"):
        storage.keep("job", made)
    assert not storage.has_whole("job")


@pytest.mark.parametrize("output", ["ftp://host/x", "s3://", "/proc/nowhere/x"])
def test_a_place_that_cannot_be_used_is_refused_by_name(output: str) -> None:
    with pytest.raises(ConfigError, match="OUTPUT"):
        open_storage(output)
