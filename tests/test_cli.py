"""The command line: what it does, and one clear line for every input it cannot use."""

import gzip
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from drivenmorph_jax import cli, pipeline
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Volume, load_volume, save_volume
from drivenmorph_jax.pipeline import register as registering
from drivenmorph_jax.pipeline.formats import FORMAT_FILES
from drivenmorph_jax.pipeline.results import FILES, WARPED_LABELS
from tests.cli.refusing import refused
from tests.pipeline import quick
from tests.pipeline.brains import brain_labels, write_pair

DEMONS = ["--method", "demons"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> dict[str, Path]:
    return write_pair(tmp_path_factory.mktemp("pair"))


def save(path: Path, data, affine=None, *, code: int = 1) -> Path:
    """An image with a sform alone, however unusable: nibabel derives no qform from it."""
    header = nib.Nifti1Header()
    header.set_sform(np.eye(4) if affine is None else affine, code=code)
    nib.save(nib.Nifti1Image(data, None, header), path)
    return path


def random(*shape):
    return np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32)


def with_values(value, where):
    data = np.pad(random(20, 20, 20), 4)
    data[where] = value
    return data


def truncated(path: Path) -> Path:
    whole = gzip.compress(save(path.with_suffix(""), random(16, 16, 16)).read_bytes())
    path.write_bytes(whole[: len(whole) // 2])
    path.with_suffix("").unlink()
    return path


def text(path: Path) -> Path:
    path.write_text("this is no image")
    return path


def sheared(path: Path) -> Path:
    affine = np.diag([2.0, 2, 2, 1])
    affine[0, 1] = 0.4
    return save(path, np.pad(random(20, 20, 20), 4), affine)


def head(path: Path) -> Path:
    data = np.zeros((60, 70, 60), np.float32)
    data[5:55, 5:65, 5:55] = 1 + random(50, 60, 50)
    return save(path, data, np.diag([3.0, 3, 3, 1]))


# What is wrong with the moving image: how to make it, and what the error must say.
BAD_IMAGES = {
    "missing": (lambda path: path, "no such file: check the path"),
    "folder": (lambda path: path.mkdir() or path, "is a folder"),
    "truncated": (truncated, "truncated or damaged"),
    "text": (text, "not a readable image"),
    "4-D": (lambda p: save(p, random(16, 16, 16, 3)), "4-D .* extract one volume"),
    "2-D": (lambda p: save(p, random(16, 16)), "2-D .* whole stack"),
    "one slice": (lambda p: save(p, random(16, 16, 1)), "axis of 1 voxels|2-D"),
    "NaN": (lambda p: save(p, with_values(np.nan, 9)), "NaN or infinite: set them to 0"),
    "infinite": (lambda p: save(p, with_values(np.inf, 9)), "NaN or infinite"),
    "zero": (lambda p: save(p, np.zeros((16, 16, 16), np.float32)), "every voxel is 0"),
    "constant": (lambda p: save(p, np.full((16, 16, 16), 5.0, np.float32)), "every voxel is 5"),
    "negative": (lambda p: save(p, -with_values(0, 9)), "no voxel is above 0"),
    "sheared": (sheared, "sheared, which ITK refuses: resample"),
    "singular": (lambda p: save(p, with_values(0, 9), np.diag([1.0, 1, 0, 1])), "singular"),
    "absurd voxels": (lambda p: save(p, with_values(0, 9), np.diag([9e3, 1, 1, 1])), "absurd"),
    "no orientation": (lambda p: save(p, with_values(0, 9), code=0), "no orientation"),
    "background": (lambda p: save(p, with_values(0, 9) + 3), "background is 3, not 0"),
    "noise": (lambda p: save(p, random(24, 24, 24)), "extract the brain first"),
    "whole head": (head, r"4\.0 litres .* extract the brain first"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_bad_image(kind, pair, tmp_path, capsys):
    make, message = BAD_IMAGES[kind]
    moving = make(tmp_path / "moving.nii.gz")
    output = tmp_path / "out"
    line = refused(capsys, ["register", pair["fixed"], moving, "--output", output, *DEMONS], output)
    assert re.search(message, line)
    assert str(moving) in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--regularity", "0"], "--regularity 0: give a number above 0"),
        (["--refine", "-3"], "refinement of -3 iterations: at least 0"),
        (["--refine", "5", "--regularity", "nan"], "--regularity nan: give a number above 0"),
        (["--similarity", "mi"], "--similarity is of --refine: give --refine N"),
        (["--formats", "itk,nii"], "format nii: is not known: choose among itk, fsl"),
    ],
)
def test_options_that_make_no_sense(options, message, pair, tmp_path, capsys):
    given = ["register", pair["fixed"], pair["moving"], "--output", tmp_path / "out", *DEMONS]
    assert message in refused(capsys, [*given, *options], tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("fixed_mask", ["--fixed-mask", "a.nii"], Path("a.nii")),
        ("moving_mask", ["--moving-mask", "a.nii"], Path("a.nii")),
        ("fixed_labels", ["--fixed-labels", "a.nii"], Path("a.nii")),
        ("moving_labels", ["--moving-labels", "a.nii"], Path("a.nii")),
        ("fixed_lesion", ["--fixed-lesion", "a.nii"], Path("a.nii")),
        ("moving_lesion", ["--moving-lesion", "a.nii"], Path("a.nii")),
        ("initial_affine", ["--initial-affine", "a.mat"], Path("a.mat")),
        ("deformable_only", ["--deformable-only"], True),
        ("overwrite", ["--overwrite"], True),
        ("formats", ["--formats", "fsl, h5"], ["fsl", "h5"]),
    ],
)
def test_every_option_reaches_the_registration(
    name, given, expected, pair, tmp_path, capsys, monkeypatch
):
    seen = {}

    def register_files(*_, **options):
        seen.update(options)
        raise InputError("seen")

    monkeypatch.setattr(pipeline, "register_files", register_files)
    arguments = ["register", pair["fixed"], pair["moving"], "--output", tmp_path / "out", *DEMONS]
    refused(capsys, arguments)
    without = seen.pop(name)
    assert without in (None, False, "itk", ["itk"])
    refused(capsys, [*arguments, *given])
    assert seen[name] == expected


def raising(error: Exception):
    def happening():
        raise error

    return happening


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("happening", "code", "lines"),
    [
        (lambda: signal.raise_signal(signal.SIGINT), 130, ["interrupted, nothing is written"]),
        (lambda: signal.raise_signal(signal.SIGTERM), 143, []),
        (raising(MemoryError()), 2, ["not enough memory: crop the images"]),
        (
            raising(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")),
            2,
            ["not enough memory: crop the images"],
        ),
        (raising(PermissionError(13, "Permission denied", "a")), 2, ["a: Permission denied"]),
    ],
    ids=["INT", "TERM", "memory", "device", "permission"],
)
def test_an_end_in_the_middle_leaves_nothing(
    happening, code, lines, pair, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(registering, "register_volumes", lambda *_, **__: happening())
    output = tmp_path / "out"
    arguments = ["register", pair["fixed"], pair["moving"], "--output", output, *DEMONS]
    try:
        found = cli.main([str(argument) for argument in arguments])
    except SystemExit as ended:
        found = ended.code
    assert found == code
    error = capsys.readouterr().err.splitlines()
    assert len(error) == len(lines)
    assert all(part in line for part, line in zip(lines, error, strict=True))
    assert not output.exists() and not list(tmp_path.glob(".drivenmorph*"))


def bad_labels(tmp_path: Path, pair, kind: str) -> list:
    """Arguments with a fault in the moving labels."""
    labels = brain_labels("oblique", other=True)
    if kind == "one only":
        return ["--fixed-labels", pair["fixed_labels"]]
    if kind == "other shape":
        labels = Volume(labels.data[1:], labels.affine)
    elif kind == "elsewhere":
        labels.affine[0, 3] += 5
    path = tmp_path / "labels.nii.gz"
    if kind == "not whole numbers":
        save(path, labels.data + np.float32(0.5), labels.affine)
    else:
        save_volume(path, labels)
    return ["--fixed-labels", pair["fixed_labels"], "--moving-labels", path]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("one only", "--fixed-labels and --moving-labels"),
        ("other shape", "resample the moving labels onto the image's grid"),
        ("elsewhere", "5 mm off the image"),
        ("not whole numbers", "not whole numbers"),
    ],
)
def test_bad_labels(kind, message, pair, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = ["register", pair["fixed"], pair["moving"], "--output", output, *DEMONS]
    line = refused(capsys, [*arguments, *bad_labels(tmp_path, pair, kind)], output)
    assert re.search(message, line)


@pytest.mark.parametrize("role", ["fixed", "moving"])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("everywhere", "covers the whole brain"),
        ("other shape", "resample the {role} lesion onto the image's grid"),
        ("missing", "{role} lesion.*no such file"),
    ],
)
def test_bad_lesions(kind, message, role, pair, tmp_path, capsys):
    path, output = tmp_path / "lesion.nii.gz", tmp_path / "out"
    image = load_volume(pair[role])
    shape = (8, 9, 10) if kind == "other shape" else image.shape
    if kind != "missing":
        save_volume(path, Volume(np.ones(shape, np.uint8), image.affine))
    arguments = ["register", pair["fixed"], pair["moving"], "--output", output, *DEMONS]
    line = refused(capsys, [*arguments, f"--{role}-lesion", path], output)
    assert re.search(message.format(role=role), line)


def corrupt(folder: Path) -> Path:
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(b"not weights")
    (folder / "config.yaml").write_text("model: {}\nsha256: 0\n")
    return folder


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (None, ["--checkpoint", "none"], "no such folder"),
        (None, ["--checkpoint", "."], "no checkpoint"),
        (corrupt, ["--checkpoint", "weights"], "damaged"),
        (None, ["--checkpoint", "none", *DEMONS], "has no weights"),
        (None, ["--weights", "brain-any", *DEMONS], "has no weights: leave out --weights"),
        (None, ["--fast", *DEMONS], "--fast is of the network: leave it out"),
        (None, ["--weights", "brain-t3"], "no weights 'brain-t3' in this package"),
        (None, ["--method", "magic"], "invalid choice"),
        (None, ["--no-such-option"], "unrecognized arguments"),
    ],
)
def test_bad_options(make, options, message, pair, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if make:
        make(tmp_path / "weights")
    output = tmp_path / "out"
    arguments = ["register", pair["fixed"], pair["moving"], "--output", output, *options]
    assert re.search(message, refused(capsys, arguments, output))


def test_no_weights_in_the_package(pair, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pipeline.pretrained, "RELEASED", tmp_path)
    output = tmp_path / "out"
    line = refused(capsys, ["register", pair["fixed"], pair["moving"], "--output", output], output)
    assert "--checkpoint" in line and "--method demons" in line


def test_bad_output(pair, tmp_path, capsys):
    def run(output):
        return refused(
            capsys, ["register", pair["fixed"], pair["moving"], "--output", output, *DEMONS]
        )

    (tmp_path / "notes.txt").write_text("mine")
    assert "--overwrite" in run(tmp_path)
    assert "is a file" in run(tmp_path / "notes.txt")
    assert "is a file" in run(tmp_path / "notes.txt" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_missing_arguments(capsys):
    assert "COMMAND" in refused(capsys, [])
    assert "MOVING, --output" in refused(capsys, ["register", "fixed.nii.gz"])


def test_register(pair, tmp_path, capsys, monkeypatch):
    quick.quicken(monkeypatch)
    monkeypatch.setattr(pipeline, "demons_method", lambda **_: quick.DEMONS)
    output = tmp_path / "out"
    labels = ["--fixed-labels", pair["fixed_labels"], "--moving-labels", pair["moving_labels"]]
    given = ["register", pair["fixed"], pair["moving"], "--output", output, *DEMONS, *labels]
    arguments = [str(argument) for argument in given]
    assert cli.main(arguments) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert re.search(r"Dice 0\.\d+ before, 0\.\d+ after the affine, 0\.\d+ after all", said.out)
    summary = json.loads((output / "summary.json").read_text())
    assert summary["command"].startswith("drivenmorph register ")
    assert str(pair["moving"]) in summary["command"]

    # Again, over it; without labels, so that theirs do not stay behind.
    (output / "notes.txt").write_text("mine")
    again = [*arguments[: -len(labels)], "--overwrite", "--quiet", "--refine", "2"]
    assert cli.main(again) == 0
    assert capsys.readouterr().out == ""
    names = {path.name for path in output.iterdir()}
    assert names == set(FILES) - {WARPED_LABELS, *FORMAT_FILES.values()} | {"notes.txt"}
    summary = json.loads((output / "summary.json").read_text())
    assert summary["method"]["refinement"]["iterations"] == 2


def test_help_loads_nothing_heavy():
    script = (
        "import sys\nfrom drivenmorph_jax import cli\n"
        "try: cli.main(['register', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'jax', 'numpy', 'scipy', 'nibabel', 'flax'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "brain-extracted" in done.stdout
    assert "--checkpoint" in done.stdout
