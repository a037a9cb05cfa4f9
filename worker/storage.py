"""Where results are stored: a folder, or a bucket. A result is complete or absent."""

from __future__ import annotations

import os
import struct
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from common.errors import ConfigError
from worker import scratch
from worker.errors import TransientError

_BOXES = (b"ftyp", b"moov", b"mdat")
Opener = Callable[[], IO[bytes]]


class Storage(ABC):
    """Keeps `<job_id>.mp4`. Methods raise TransientError when the place does not answer."""

    @abstractmethod
    def path(self, job_id: str) -> str:
        """Where the job's result is or will be, as it is announced."""

    @abstractmethod
    def has_whole(self, job_id: str) -> bool:
        """Whether the job's result is there, and whole."""

    @property
    @abstractmethod
    def works_in(self) -> Path:
        """The folder of its workplaces, in which workers that die leave unfinished files."""

    def workplace(self, job_id: str) -> Path:
        """A fresh file name to render to."""
        return scratch.part(self.works_in, job_id)

    @abstractmethod
    def keep(self, job_id: str, made: Path) -> str:
        """Make what was rendered to `made` the job's result, durably; where it is.

        Raises TransientError when `made` is not a whole video.
        """


class FolderStorage(Storage):
    """A folder: written beside its final place, synced, renamed."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError when the folder can neither be used nor made."""
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = scratch.part(folder, "probe")
            probe.touch()
            probe.unlink()
        except OSError as error:
            allowed = f"a folder that can be written to, or s3://bucket/prefix ({error.strerror})"
            raise ConfigError("OUTPUT", str(folder), allowed) from error

    def path(self, job_id: str) -> str:
        return str(self._folder / f"{job_id}.mp4")

    def has_whole(self, job_id: str) -> bool:
        return _whole(Path(self.path(job_id)))

    @property
    def works_in(self) -> Path:
        return self._folder

    def keep(self, job_id: str, made: Path) -> str:
        if not _whole(made):
            raise TransientError("the renderer left no whole video")
        try:
            _sync(made, os.O_RDWR)
            made.replace(self.path(job_id))
            _sync(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise scratch.unwritable(error, self._folder) from error
        return self.path(job_id)


class BucketStorage(Storage):
    """An S3 bucket: an object appears when its upload is complete, and not before."""

    def __init__(self, url: str) -> None:
        """Raises ConfigError when the name is no bucket or the packages for it are missing."""
        self._place = url.removeprefix("s3://").strip("/")
        if not self._place:
            raise ConfigError("OUTPUT", url, "s3://bucket or s3://bucket/prefix")
        try:
            import s3fs
        except ImportError as error:
            allowed = "a folder; s3:// needs the extra `s3` (fsspec, s3fs) installed"
            raise ConfigError("OUTPUT", url, allowed) from error
        # Listings must not be remembered: other workers write here too.
        self._fs: Any = s3fs.S3FileSystem(use_listings_cache=False)

    def path(self, job_id: str) -> str:
        return f"s3://{self._place}/{job_id}.mp4"

    def has_whole(self, job_id: str) -> bool:
        try:
            size = int(self._fs.info(self.path(job_id))["size"])
            with self._fs.open(self.path(job_id), "rb", block_size=64 * 1024) as file:
                return is_whole_mp4(file, size)
        except FileNotFoundError:
            return False
        except Exception as error:
            raise TransientError(f"the bucket does not answer: {error!r:.300}") from error

    @property
    def works_in(self) -> Path:
        return Path(tempfile.gettempdir())

    def keep(self, job_id: str, made: Path) -> str:
        if not _whole(made):
            raise TransientError("the renderer left no whole video")
        try:
            self._fs.put_file(str(made), self.path(job_id))
        except Exception as error:
            raise TransientError(f"the result could not be uploaded: {error!r:.300}") from error
        with suppress(OSError):
            made.unlink()
        return self.path(job_id)


def open_storage(output: str) -> Storage:
    """The place that `OUTPUT` names. Raises ConfigError."""
    if output.startswith("s3://"):
        return BucketStorage(output)
    if "://" in output:
        raise ConfigError("OUTPUT", output, "a folder, or s3://bucket/prefix")
    return FolderStorage(Path(output))


def is_whole_mp4(file: IO[bytes], size: int) -> bool:
    """Whether the top-level boxes of an MP4 fill its `size` bytes exactly and none is missing.

    Box headers: ISO/IEC 14496-12, section 4.2. A file that was cut off fails, as its last box
    then claims more than there is.
    """
    seen, position = set(), 0
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length, kind = struct.unpack(">I4s", header[:8])
        if length == 1 and len(header) == 16:
            length = struct.unpack(">Q", header[8:])[0]
        if length < 8:
            return False
        seen.add(kind)
        position += length
    return position == size and seen.issuperset(_BOXES)


def _whole(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return is_whole_mp4(file, os.fstat(file.fileno()).st_size)
    except OSError:
        return False


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
