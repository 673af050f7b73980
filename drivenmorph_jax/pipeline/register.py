"""Register two files: read, check, register, measure, write."""

from pathlib import Path

from drivenmorph_jax.images import Volume, warp_volume
from drivenmorph_jax.pipeline.methods import Method
from drivenmorph_jax.pipeline.output_folder import output_folder
from drivenmorph_jax.pipeline.registration import Registered, register_volumes
from drivenmorph_jax.pipeline.results import FILES, write_figure, write_images, write_summary
from drivenmorph_jax.pipeline.scans import PathLike, Scans, read_scans
from drivenmorph_jax.pipeline.stages import Say, Stages, silent
from drivenmorph_jax.pipeline.summary import Summary, environment, summarise


def register_files(
    fixed: PathLike,
    moving: PathLike,
    output: PathLike,
    method: Method,
    *,
    fixed_labels: PathLike | None = None,
    moving_labels: PathLike | None = None,
    overwrite: bool = False,
    command: str | None = None,
    say: Say = silent,
) -> Summary:
    """Register two files and write the results, all or none, into a folder.

    Args:
        fixed, moving: brain-extracted images (NIfTI, MGH).
        output: the folder: `warped.nii.gz`, `warp.nii.gz` (ITK displacement field, affine
            included), `affine.mat` (ITK), `figure.png`, `summary.json`, and with label maps
            `warped_labels.nii.gz`.
        method: `network_method(...)` or `demons_method(...)`.
        fixed_labels, moving_labels: label maps on their images' grids, for Dice.
        overwrite: replace earlier results in the folder.
        command: to be kept in the summary.
        say: called with a line at the start of each stage.

    Returns:
        The content of `summary.json`.

    Raises:
        InputError: an input cannot be used, or the output cannot be written.
    """
    stages = Stages(say)
    inputs = {
        "fixed": fixed,
        "moving": moving,
        "fixed_labels": fixed_labels,
        "moving_labels": moving_labels,
    }
    summary: Summary = {
        "command": command,
        "inputs": {name: str(Path(path).absolute()) for name, path in inputs.items() if path},
    }
    with output_folder(output, overwrite=overwrite, names=FILES) as folder:
        with stages.stage("read", f"reading {fixed} (fixed) and {moving} (moving)"):
            scans = read_scans(
                fixed, moving, fixed_labels=fixed_labels, moving_labels=moving_labels
            )
        registered = register_volumes(scans.fixed, scans.moving, method, stages=stages)
        with stages.stage("measure", "measuring"):
            warped_labels = _warp_labels(scans, registered)
            summary |= summarise(scans, registered, method, warped_labels)
        with stages.stage("write", f"writing {output}"):
            write_images(folder, scans, registered, warped_labels)
            names = f"{Path(moving).name} to {Path(fixed).name}"
            write_figure(folder, registered, title=f"{names}, {method.name}")
        summary |= {"seconds": {k: round(v, 3) for k, v in stages.seconds.items()}}
        summary |= environment()
        write_summary(folder, summary)
    return summary


def _warp_labels(scans: Scans, registered: Registered) -> Volume | None:
    if scans.moving_labels is None:
        return None
    return warp_volume(scans.moving_labels, registered.displacement, scans.fixed.affine, order=0)
