"""NIfTI files, compressed in the way that fits floating-point voxels."""

import io
import pathlib
import zlib

import numpy as np
from nibabel.fileholders import FileHolder
from nibabel.nifti1 import Nifti1Image

# A gzip header, the largest window and the usual memory.
_GZIP = 31
_MEMORY = 8


def write_nifti(image: Nifti1Image, path: pathlib.Path) -> None:
    """Write .nii or .nii.gz; labels as gzip does by default.

    In the mantissas of floats nothing repeats: the search for it takes three quarters of the time
    and finds nothing. Runs of zeros, and codes of few bits for frequent bytes (`Z_RLE`), give files
    a hundredth smaller; measured on warps, forces and images at 1 mm.

    Raises:
        OSError: it cannot be written.
    """
    if path.name.lower().endswith(".gz"):
        floating = np.dtype(image.get_data_dtype()).kind == "f"
        strategy = zlib.Z_RLE if floating else zlib.Z_DEFAULT_STRATEGY
        with path.open("wb") as file, _Deflated(file, strategy) as deflated:
            _write(image, deflated)
    else:
        with path.open("wb") as file:
            _write(image, file)


def _write(image: Nifti1Image, file) -> None:
    # From here on NiBabel leaves the file's name alone.
    image.to_file_map({"image": FileHolder(fileobj=file)})


class _Deflated(io.RawIOBase):
    """A file to write to from its beginning to its end."""

    def __init__(self, file, strategy: int) -> None:
        super().__init__()
        self._file, self._written = file, 0
        level = zlib.Z_DEFAULT_COMPRESSION
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, _GZIP, _MEMORY, strategy)

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data) -> int:
        self._file.write(self._deflate.compress(data))
        size = memoryview(data).nbytes
        self._written += size
        return size

    def seek(self, offset: int, whence: int = 0) -> int:
        """Forward only, as NiBabel does up to the first voxel."""
        if whence or offset < self._written:
            raise io.UnsupportedOperation("a compressed file is written in one go")
        self.write(bytes(offset - self._written))
        return self._written

    def close(self) -> None:
        try:
            if not self.closed:
                self._file.write(self._deflate.flush())
        finally:
            super().close()
