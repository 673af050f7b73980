"""From a training run to a folder of weights that can be shipped."""

from pathlib import Path
from typing import Any

from drivenmorph_jax.model.weights import save_weights
from drivenmorph_jax.pipeline.pretrained import load_checkpoint


def export_weights(run: str | Path, output: str | Path) -> Path:
    """Write the averaged parameters of a run's best checkpoint as safetensors with their config.

    Of the run's config only what using the weights needs goes along (architecture, grid, loss and
    schedule): no path of the machine that it was trained on.

    Raises:
        InputError: there is no usable checkpoint.
    """
    # Orbax takes seconds to import: not for `--help`.
    from drivenmorph_jax.training.checkpoint import load_parameters

    trained = load_checkpoint(run)
    saved = load_parameters(run)
    metadata: dict[str, Any] = {
        "data": {
            name: saved.config["data"][name] for name in ("format", "shape", "spacing", "flip")
        },
        "loss": saved.config["loss"],
        "training": saved.config["training"],
        "step": saved.step,
    }
    save_weights(output, trained.params, trained.config, metadata)
    return Path(output)
