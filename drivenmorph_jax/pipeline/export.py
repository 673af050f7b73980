"""From a training run to a folder of weights that can be shipped."""

from pathlib import Path

from drivenmorph_jax.model.weights import save_weights
from drivenmorph_jax.pipeline.pretrained import open_run


def export_weights(run: str | Path, output: str | Path) -> None:
    """Write the averaged parameters of a run's best checkpoint as safetensors with their config.

    Of the run's config only what using the weights needs goes along (architecture, grid, loss and
    schedule): no path of the machine that it was trained on.

    Raises:
        InputError: there is no usable checkpoint, or the output cannot be written.
    """
    weights, model = open_run(Path(run).expanduser())
    data = weights.config["data"]
    metadata = {
        "data": {name: data[name] for name in ("format", "shape", "spacing", "flip")},
        "loss": weights.config["loss"],
        "training": weights.config["training"],
        "step": weights.step,
    }
    save_weights(output, weights.params, model, metadata)
