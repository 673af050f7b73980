"""From a training run to a folder of weights that can be shipped."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.config import Precision
from drivenmorph_jax.model.correlation_parameters import with_correlation
from drivenmorph_jax.model.weights import save_weights
from drivenmorph_jax.paths import user_path
from drivenmorph_jax.pipeline.pretrained import open_run
from drivenmorph_jax.pipeline.program import export_program, remove_program, save_program
from drivenmorph_jax.pipeline.working_space import Shape
from drivenmorph_jax.training.run_folder import commits_of


def export_weights(
    run: str | Path,
    output: str | Path,
    *,
    iterations: Sequence[int] | None = None,
    correlation_iterations: Sequence[int] | None = None,
    precision: Precision | None = None,
    program: Shape | None = None,
) -> None:
    """Write the averaged parameters of a run's best checkpoint as safetensors with their config.

    Of the run's config only what using the weights needs goes along (architecture, grid, loss and
    schedule), with the commits that it was trained at: no path of the machine.

    Args:
        run: the run folder.
        output: the folder to write.
        iterations: of each level, finest first, in place of those of the training: the iterations
            of a level share their parameters, so that there may be more or fewer of them.
        correlation_iterations: finest first, in place of those of the training, which may have
            done without.
        precision: of encoder and attention, in place of that of the training.
        program: also write a `jax.export` program for images of so many voxels an axis; see
            `export_program`.

    Raises:
        InputError: there is no usable checkpoint, the iterations do not fit the trained levels, or
            the output cannot be written.
    """
    folder = user_path(run)
    weights, model = open_run(folder)
    trained = model.iterations
    if iterations is not None:
        model = dataclasses.replace(model, iterations=tuple(iterations))
        if [n > 0 for n in model.iterations] != [n > 0 for n in trained]:
            raise InputError(
                f"iterations {list(iterations)}: trained were {list(trained)}; keep the number of "
                "levels, and 0 where it is 0"
            )
    params = weights.params
    if correlation_iterations is not None:
        model = dataclasses.replace(model, correlation_iterations=tuple(correlation_iterations))
        params = with_correlation(params, model)
    if precision is not None:
        model = dataclasses.replace(model, precision=precision)
    data, training = weights.config["data"], dict(weights.config["training"])
    training.pop("initial_weights", None)  # A path.
    metadata = {
        "data": {name: data[name] for name in ("format", "shape", "spacing", "flip")},
        "loss": weights.config["loss"],
        "training": training,
        "trained_iterations": list(trained),
        "step": weights.step,
        "git_commits": commits_of(folder if (folder / "checkpoints").is_dir() else folder.parent),
    }
    # First, for it may refuse the shape: then nothing is written.
    exported = None if program is None else export_program(model, program)
    remove_program(output)  # Of weights that were there before.
    save_weights(output, params, model, metadata)
    if exported is not None:
        save_program(output, exported)
