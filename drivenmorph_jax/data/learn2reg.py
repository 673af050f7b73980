"""The folder of a Learn2Reg task, as its data set JSON describes it (OASIS_dataset.json)."""

import json
from pathlib import Path
from typing import Any

from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.listing import Listing, SubjectFile, existing, strip_image_suffix
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.paths import user_path


def list_learn2reg(cfg: DataConfig) -> Listing:
    """Training subjects of "training", reported pairs of "registration_val" or "registration_test".

    Nobody of a reported pair is trained on, though the published "training" lists them all. Labels
    are an entry's "label", else the file of the image's name in labelsTr (labelsTs).

    Raises:
      InputError: no JSON, not such a JSON, or an image that is not there.
    """
    path = _find_json(cfg)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("training"), list):
        raise InputError(f"{path}: no list 'training', so not a Learn2Reg data set JSON")
    chosen = f"registration_{cfg.evaluation_split}"
    reported = {
        key: [_pair(entry, key, path) for entry in content.get(key, ())]
        for key in ("registration_val", "registration_test")
    }
    if not reported[chosen]:
        raise InputError(f"{path}: no list {chosen!r}: set data.evaluation_split to val or test")
    kept_out = {
        strip_image_suffix(Path(p)) for pairs in reported.values() for e in pairs for p in e
    }
    training = [_subject(entry, path) for entry in content["training"]]
    training = [file for file in training if file.name not in kept_out]
    if not training:
        raise InputError(f"{path}: every training image is in a reported pair, none is left")
    images = dict.fromkeys(image for pair in reported[chosen] for image in pair)
    return Listing(
        training=tuple(sorted(training, key=lambda file: file.name)),
        validation=tuple(_subject({"image": image}, path) for image in images),
        validation_pairs=tuple(
            (strip_image_suffix(Path(fixed)), strip_image_suffix(Path(moving)))
            for fixed, moving in reported[chosen]
        ),
        labels="learn2reg_oasis"
        if "oasis" in str(content.get("name", path.name)).lower()
        else None,
    )


def _find_json(cfg: DataConfig) -> Path:
    if cfg.path is None:
        raise InputError("data.path is not set: give the folder of a Learn2Reg task, or its JSON")
    path = user_path(cfg.path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"no folder {path}: set data.path to the folder of a Learn2Reg task")
    found = sorted(path.glob("*dataset.json"))
    if len(found) != 1:
        raise InputError(
            f"{path}: {len(found) or 'no'} files *dataset.json: set data.path to the one to use"
        )
    return found[0]


def _pair(entry: Any, key: str, path: Path) -> tuple[str, str]:
    if not isinstance(entry, dict) or not {"fixed", "moving"} <= entry.keys():
        raise InputError(f"{path}: an entry of {key!r} has no 'fixed' and 'moving'")
    return str(entry["fixed"]), str(entry["moving"])


def _subject(entry: Any, path: Path) -> SubjectFile:
    if isinstance(entry, str):
        entry = {"image": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
        raise InputError(f"{path}: a training entry has no 'image' path")
    image = path.parent / entry["image"]
    if not image.is_file():
        raise InputError(f"{path} names {image}, which is not there: unpack the whole data set")
    if isinstance(entry.get("label"), str):
        labels = existing(path.parent / entry["label"])
    else:
        folder = image.parent.name.replace("images", "labels")
        labels = existing(image.parent.parent / folder / image.name)
    return SubjectFile(strip_image_suffix(image), image, labels)
