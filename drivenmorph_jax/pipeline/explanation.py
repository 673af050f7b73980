"""What drove a registration of two files: statistics of its force, a causal test, in words."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from drivenmorph_jax.evaluation.causal import with_all_force
from drivenmorph_jax.evaluation.force_figure import draw_force_statistics
from drivenmorph_jax.evaluation.force_study import (
    Images,
    mirrored_pair,
    study_pair,
    summarise_force,
)
from drivenmorph_jax.evaluation.force_words import in_words
from drivenmorph_jax.pipeline.methods import Method, at_own_resolution
from drivenmorph_jax.pipeline.output_folder import output_folder
from drivenmorph_jax.pipeline.registration import register_volumes
from drivenmorph_jax.pipeline.scans import PathLike, read_scans
from drivenmorph_jax.pipeline.stages import Stages
from drivenmorph_jax.progress import Say, silent
from drivenmorph_jax.writing import write_atomically

DOCUMENT, WORDS, PICTURE = "explain.json", "explain.txt", "explain.png"
FILES = (DOCUMENT, WORDS, PICTURE)
_CONTROL = "the same force mirrored left to right"


def explain_files(
    fixed: PathLike,
    moving: PathLike,
    output: PathLike,
    method: Method,
    *,
    fixed_mask: PathLike | None = None,
    moving_mask: PathLike | None = None,
    overwrite: bool = False,
    command: str | None = None,
    say: Say = silent,
) -> str:
    """Register two files and write what their force explains, all or none, into a folder.

    The control of a single pair is its own force, mirrored left to right: brains are nearly
    symmetric, so that it keeps what any force has to do with where in a brain it is.

    Args:
        fixed, moving: images (NIfTI, MGH), brain-extracted or with a mask.
        output: the folder, for `FILES`.
        method: `network_method(...)` or `demons_method(...)`; it is explained at its own
            resolution.
        fixed_mask, moving_mask: not 0 in the brain; outside it the image becomes 0.
        overwrite: replace earlier results in the folder.
        command: to be kept in the document.
        say: called with a line at the start of each stage.

    Returns:
        The text of `explain.txt`.

    Raises:
        InputError: an input cannot be used, or the output cannot be written.
    """
    stages = Stages(say)
    method = at_own_resolution(method._replace(solve=with_all_force(method.solve)))
    with output_folder(output, overwrite=overwrite, names=FILES) as folder:
        with stages.stage("read", f"reading {fixed} (fixed) and {moving} (moving)"):
            scans = read_scans(fixed, moving, fixed_mask=fixed_mask, moving_mask=moving_mask)
        registered = register_volumes(scans.fixed, scans.moving, method, stages=stages)
        working = registered.working
        x, y, z = np.linalg.norm(working.grid.affine[:3, :3], axis=0)
        pair = Images(working.fixed, working.moving, (float(x), float(y), float(z)))
        with stages.stage("remove", "registering again, without the force of some balls"):
            own = study_pair(method.solve, pair, registration=registered.deformable, progress=say)
        control = mirrored_pair(registered.deformable, pair)
        width = method.smoothing_voxels * float(np.mean(pair.spacing))
        summary = summarise_force([own], [control], smoothing=width)
        text = in_words(summary, control=_CONTROL)
        with stages.stage("write", f"writing {output}"):
            document = {
                "command": command,
                "inputs": {
                    "fixed": str(Path(fixed).absolute()),
                    "moving": str(Path(moving).absolute()),
                },
                "method": {"name": method.name, **method.details},
                "control": _CONTROL,
                **summary,
            }
            _write(folder, document, text)
            title = f"{Path(moving).name} to {Path(fixed).name}, {method.name}"
            draw_force_statistics(
                folder / PICTURE, summary, title=title, control="its mirror image"
            )
    return text


def _write(folder: Path, document: dict[str, Any], text: str) -> None:
    dumped = json.dumps(document, indent=1, allow_nan=False) + "\n"
    write_atomically(folder / DOCUMENT, lambda path: path.write_text(dumped))
    write_atomically(folder / WORDS, lambda path: path.write_text(text))
