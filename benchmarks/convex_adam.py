"""convexAdam as its package has it (MIND features, its own defaults), on the CPU."""

import numpy as np
import torch
from convexAdam.convex_adam_MIND import convex_adam_pt
from numpy import ndarray

SETTINGS = {
    "mind_r": 1,
    "mind_d": 2,
    "lambda_weight": 1.25,
    "grid_sp": 6,
    "disp_hw": 4,
    "selected_niter": 80,
    "selected_smooth": 0,
    "grid_sp_adam": 2,
    "ic": True,
}
"""The package's defaults, written out."""


def register(fixed: ndarray, moving: ndarray) -> ndarray:
    """Displacement of coupled convex optimisation and Adam, (D, H, W, 3) in voxels.

    Images are padded to whole cells of its coarse grid, which it would otherwise stretch.
    """
    padding = [(0, -n % SETTINGS["grid_sp"]) for n in fixed.shape]
    padded = [np.pad(np.asarray(image, np.float32), padding) for image in (fixed, moving)]
    # Its half precision does not exist on a CPU.
    field = convex_adam_pt(*padded, **SETTINGS, dtype=torch.float32, device=torch.device("cpu"))
    return field[: fixed.shape[0], : fixed.shape[1], : fixed.shape[2]].astype(np.float32)
