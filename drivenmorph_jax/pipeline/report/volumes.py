"""Volumes as small text: a byte a voxel, what its value means, deflated, base64.

Each volume is stored once and the page cuts its slices in all three planes itself: a third of the
size of pictures of them. Each code is the difference to its neighbours along the last two axes
(modulo 256), which deflates better.
"""

import base64
import zlib
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

# Vectors are smooth: of a larger grid every second voxel is kept.
_MOST_VECTORS = 2_000_000
_BRIGHT_PERCENTILE = 99.5
_LEVEL = 6


def pack_image(image: Float[ndarray, "d h w"], *, top: float) -> dict[str, Any]:
    """Code 0 is the background (exactly 0), 1 to 255 are 0 to `top`."""
    codes = np.rint(1 + 254 * np.clip(image / top, 0, 1))
    return _packed(np.where(image == 0, 0, codes), "linear", top)


def pack_ratio(ratio: Float[ndarray, "d h w"], *, doublings: float) -> dict[str, Any]:
    """Code 0 is a ratio of 0 or less, 1 to 255 are 2^-doublings to 2^doublings, 128 is 1."""
    positive = ratio > 0
    exponents = np.log2(ratio, where=positive, out=np.zeros(ratio.shape, np.float32))
    codes = np.rint(128 + 127 * np.clip(exponents / doublings, -1, 1))
    return _packed(np.where(positive, codes, 0), "ratio", doublings)


def pack_vectors(vectors: Float[ndarray, "d h w 3"]) -> list[dict[str, Any]]:
    """Three components by the signed square root, finest near 0: 128 is 0, 1 and 255 the largest.

    The error is at most about 1/127 of sqrt(value · largest).
    """
    step = 2 if vectors[..., 0].size > _MOST_VECTORS else 1
    vectors = vectors[::step, ::step, ::step]
    top = float(np.abs(vectors).max()) or 1.0
    codes = np.rint(128 + 127 * np.sign(vectors) * np.sqrt(np.abs(vectors) / top))
    return [_packed(codes[..., axis], "signed root", top, step) for axis in range(3)]


def bright(image: Float[ndarray, "d h w"]) -> float:
    """The intensity to show as white."""
    inside = image[image != 0]
    return max(float(np.percentile(inside, _BRIGHT_PERCENTILE)), 1e-6) if inside.size else 1.0


def _packed(codes: Float[ndarray, "d h w"], code: str, top: float, step: int = 1) -> dict[str, Any]:
    shape = [int(size) for size in codes.shape]
    data = zlib.compress(_differences(codes.astype(np.uint8)).tobytes(), _LEVEL)
    text = base64.b64encode(data).decode("ascii")
    return {"code": code, "top": top, "step": step, "shape": shape, "data": text}


def _differences(codes: UInt8[ndarray, "d h w"]) -> UInt8[ndarray, "d h w"]:
    for axis in (1, 2):
        codes = np.diff(codes, axis=axis, prepend=np.uint8(0))
    return codes
