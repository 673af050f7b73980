"""What published data sets without a split of their own share: dividing their subjects."""

from collections.abc import Sequence

from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.listing import Listing, SubjectFile
from drivenmorph_jax.data.split import split_by_hash, split_by_patterns


def divide(files: Sequence[SubjectFile], cfg: DataConfig, *, labels: str | None) -> Listing:
    """Training and validation subjects by `data.validation`, else by `data.validation_fraction`.

    Raises:
      InputError: one of the two would be empty.
    """
    names = [file.name for file in files]
    if cfg.validation:
        training, validation = split_by_patterns(names, cfg.validation)
    else:
        count = round(cfg.validation_fraction * len(names))
        training, validation = split_by_hash(names, count, seed=cfg.seed)
    by_name = {file.name: file for file in files}
    return Listing(
        tuple(by_name[name] for name in training),
        tuple(by_name[name] for name in validation),
        labels=labels,
    )
