"""Reads a subject's files, whatever the data set keeps them in, as RAS+ volumes."""

import logging
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.analyze import AnalyzeImage
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Image, Nifti1Pair
from nibabel.spatialimages import HeaderDataError

from drivenmorph_jax.data.label_maps import read_label_map
from drivenmorph_jax.data.listing import SubjectFile
from drivenmorph_jax.data.pickled import read_pickled
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Volume, canonical, load_labels, load_volume
from drivenmorph_jax.images.intensities import check_brain_above_zero

_log = logging.getLogger(__name__)

# A brain fills about half of even the tightest box; a whole head with its noise fills all of it.
_LARGEST_BRAIN_SHARE = 0.9
# Label maps resampled by other tools can be off by rounding; more is another grid.
_GRID_TOLERANCE = 0.1


def read_subject(file: SubjectFile) -> tuple[Volume, Volume | None]:
    """Image (float32) and labels (int32, or None) with axes right, anterior, superior.

    Of a subject whose image is its label map, a stand-in for the image (`read_label_map`).

    Raises:
      InputError: a file cannot be read, the image is not brain-extracted, or the labels lie on
        another grid than the image.
    """
    if file.image_path == file.labels_path and not _is_pickled(file.image_path):
        return read_label_map(file.image_path)
    image = read_image(file.image_path)
    if (image.data != 0).mean() > _LARGEST_BRAIN_SHARE:
        raise InputError(
            f"image {file.image_path} has no background: extract the brain first (0 outside it)"
        )
    check_brain_above_zero(image, f"image {file.image_path}")
    if file.labels_path is None:
        return image, None
    return image, _read_labels(file.labels_path, image, file.image_path)


def read_image(path: Path) -> Volume:
    """An image file of any kind a data set uses, float32, with axes R, A, S."""
    if _is_pickled(path):
        return canonical(read_pickled(path)[0])
    return canonical(_analyze_or_unoriented(path) or load_volume(path))


def _is_pickled(path: Path) -> bool:
    """Of the kind that holds an image and its labels together."""
    return path.name.endswith(".pkl")


def _read_labels(path: Path, image: Volume, image_path: Path) -> Volume:
    if _is_pickled(path):
        labels = canonical(read_pickled(path)[1])
    else:
        lenient = _analyze_or_unoriented(path)
        labels = canonical(load_labels(path) if lenient is None else lenient)
    if labels.shape != image.shape:
        raise InputError(
            f"labels {path} have shape {labels.shape}, their image {image_path} {image.shape}: "
            "resample them onto the image's grid"
        )
    corners = np.stack(np.meshgrid(*([0, n - 1] for n in image.shape), indexing="ij"), axis=-1)
    apart = (labels.affine - image.affine)[:3, :3] @ corners.reshape(-1, 3).T
    apart = np.abs(apart + (labels.affine - image.affine)[:3, 3:]).max()
    if apart > _GRID_TOLERANCE * image.spacing.min():
        raise InputError(
            f"labels {path} lie up to {apart:.3g} mm off their image {image_path}: "
            "give both the same affine"
        )
    data = np.rint(labels.data).astype(np.int32)
    if data.min() < 0:
        raise InputError(f"labels {path} hold the negative label {data.min()}: renumber it")
    return Volume(data, image.affine)


def _analyze_or_unoriented(path: Path) -> Volume | None:
    """Analyze pairs, and NIfTI files whose header states no orientation; None for all others.

    Registering a user's own files needs a known orientation. Data sets distributed without one
    are consistent in themselves, which is all that training on them needs.
    """
    if not path.is_file():
        return None
    try:
        if path.name.endswith((".img", ".img.gz", ".hdr")):
            image = _open_pair(path)
        elif path.name.endswith((".nii", ".nii.gz")):
            image = nib.load(path)
            if not isinstance(image, Nifti1Image) or _oriented(image):
                return None
            _log.warning("%s states no orientation: its axes are taken as they come", path)
        else:
            return None
        data = np.asarray(image.dataobj, np.float32)
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"image {path} is not readable: {' '.join(str(error).split())}") from None
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != 3 or image.affine is None:
        raise InputError(f"image {path} is {data.ndim}-D, not 3-D: extract one volume")
    return Volume(np.nan_to_num(data), np.asarray(image.affine, np.float64))


def _open_pair(path: Path) -> AnalyzeImage | Nifti1Pair:
    """A header with its voxels, either of them compressed or not."""
    stem = path.name.removesuffix(".gz").removesuffix(".img").removesuffix(".hdr")
    parts = {}
    for part, ending in (("header", ".hdr"), ("image", ".img")):
        found = [path.with_name(f"{stem}{ending}{gz}") for gz in ("", ".gz")]
        found = [candidate for candidate in found if candidate.is_file()]
        if not found:
            raise InputError(f"image {path} has no {stem}{ending} beside it: copy both files")
        parts[part] = str(found[0])
    # The file type is in the header's last bytes; what is not NIfTI is Analyze.
    for kind in (Nifti1Pair, AnalyzeImage):
        file_map = kind.make_file_map(parts)
        header_file = file_map["header"].get_prepare_fileobj(mode="rb")
        with header_file:
            header = header_file.read(348)
        if kind is AnalyzeImage or header[344:347] == b"ni1":
            return kind.from_file_map(file_map)
    raise AssertionError("unreachable: Analyze takes every header")


def _oriented(image: Nifti1Image) -> bool:
    return bool(image.get_sform(coded=True)[1] or image.get_qform(coded=True)[1])
