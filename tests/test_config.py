import pathlib

import pytest

from drivenmorph_jax.config import Config, load_config, parse_config, save_config
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model import ModelConfig
from drivenmorph_jax.model.config import AnatomyConfig, ClassicalConfig

CONFIGS = sorted((pathlib.Path(__file__).resolve().parents[1] / "configs").glob("*.yaml"))


def test_an_empty_config_is_the_default():
    assert parse_config("") == Config()


def test_lists_will_do_for_tuples():
    """A config that holds a list could not be a static argument of `jax.jit`."""
    made = ModelConfig(squarings=[1, 2])  # pyright: ignore[reportArgumentType]
    assert made == ModelConfig(squarings=(1, 2))
    assert hash(made) == hash(ModelConfig(squarings=(1, 2)))
    assert hash(AnatomyConfig(5, [4, 4]))  # pyright: ignore[reportArgumentType]
    assert hash(ClassicalConfig(iterations=[4, 4]))  # pyright: ignore[reportArgumentType]


def test_a_file_changed_by_overrides(tmp_path):
    (tmp_path / "one.yaml").write_text(
        "training:\n  steps: 50\n  optimiser: {learning_rate: 1e-4}\n"
        "model: {iterations: [1, 2, 2, 2]}\n"
    )
    overrides = ["training.steps=7", "model.channels=[4, 8, 8]", "training.backend=single"]
    config = load_config(tmp_path / "one.yaml", overrides)
    assert config.training.steps == 7
    assert config.training.optimiser.learning_rate == 1e-4
    assert config.training.backend == "single"
    assert config.model.channels == (4, 8, 8)
    assert config.model.iterations == (1, 2, 2, 2)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_of_the_repository_is_one(path, monkeypatch):
    for name in ("DRIVENMORPH_DATA", "IXI", "OASIS", "LPBA40", "MINDBOGGLE"):
        monkeypatch.setenv(name, "/somewhere")
    assert isinstance(load_config(path), Config)


def test_what_is_saved_loads_as_the_same(tmp_path):
    config = parse_config("training: {steps: 3}", ["data.path=/somewhere", "loss.similarity=mse"])
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {step: 3}", "unknown key training.step: did you mean training.steps?"),
        ("steps: 3", "unknown key steps: did you mean training.steps?"),
        ("trainig: {steps: 3}", "unknown key trainig: did you mean training?"),
        (
            "training: {optimiser: {learnin_rate: 1.0}}",
            "unknown key training.optimiser.learnin_rate: "
            "did you mean training.optimiser.learning_rate?",
        ),
        ("training: {learning_rate: 1.0}", "did you mean training.optimiser.learning_rate?"),
        ("zzz: 1", "unknown key zzz: known are data, model, loss, training"),
        ("training: {steps: many}", "training.steps is 'many': input should be a valid integer"),
        ("training: {steps: true}", "training.steps is True: input should be a valid integer"),
        ("training: {steps: 1.5}", "training.steps is 1.5: input should be a valid integer"),
        ("training: {backend: cuda}", "training.backend is 'cuda': input should be 'auto', "),
        ("training: {steps: 0}", "training.steps is 0: at least 1"),
        ("training: 5", "training is 5: "),
        ("loss: {lncc_window: 4}", "loss.lncc_window is 4: an odd number of voxels"),
        ("loss: {lncc_window: -1}", "loss.lncc_window is -1: an odd number of voxels"),
        (
            "{data: {shape: [8, 32, 32]}, model: {iterations: [1, 3, 4, 4]}}",
            "data.shape [8, 32, 32] has [1, 4, 4] voxels at level 3, the coarsest with a force, "
            "and its supervision (loss.force_weight) needs 2 an axis: use a larger shape",
        ),
        (
            "{data: {shape: [16, 32, 32]}, loss: {regularity: bending}}",
            "data.shape [16, 32, 32] has [2, 4, 4] voxels at level 3",
        ),
        ("model: {window: 0}", "model.window is 0: at least 1"),
        ("model: {channels: 3}", "model.channels is 3: "),
        ("- a", "needs keys and values"),
        ("a: [", "is not valid YAML"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(text, message):
    with pytest.raises(InputError) as caught:
        parse_config(text, source="one.yaml")
    assert str(caught.value).startswith("one.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["loss: {force_weight: 0.0}", "model: {iterations: [1, 3, 4, 0]}"])
def test_a_small_grid_will_do_where_no_force_is_supervised_on_it(text):
    assert parse_config(text, ["data.shape=[8, 8, 8]"]).data.shape == (8, 8, 8)


@pytest.mark.parametrize("override", ["training.steps", "=3", "training..steps=3"])
def test_an_override_that_is_none_is_refused(override):
    with pytest.raises(InputError, match=r"write it as section.key=value"):
        parse_config("", [override])


def test_an_unknown_key_in_an_override_is_named():
    with pytest.raises(InputError, match=r"override training.stepz=3: unknown key training.stepz"):
        parse_config("", ["training.stepz=3"])


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"none.yaml cannot be read: No such file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "weights").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"weights is not a text in UTF-8"):
        load_config(tmp_path / "weights")


def test_paths_start_at_the_config_and_in_overrides_at_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "one.yaml").write_text("data: {path: ../brains, labels: freesurfer}")
    monkeypatch.chdir(tmp_path)
    config = load_config("configs/one.yaml", ["data.cache=here", "data.reference=~/head.nii.gz"])
    assert config.data.path == str(tmp_path / "brains")
    assert config.data.cache == str(tmp_path / "here")
    assert config.data.reference == str(pathlib.Path.home() / "head.nii.gz")
    assert config.data.labels == "freesurfer"


def test_variables_in_paths(monkeypatch):
    monkeypatch.setenv("BRAINS", "/brains")
    assert parse_config("data: {path: $BRAINS/ixi}").data.path == "/brains/ixi"
    assert parse_config("data: {path: '${BRAINS}/ixi'}").data.path == "/brains/ixi"
    monkeypatch.delenv("BRAINS")
    with pytest.raises(InputError, match=r"data.path: environment variable \$BRAINS is not set"):
        parse_config("data: {path: $BRAINS/ixi}")


def test_the_data_folder_has_a_default_beside_the_checkout(monkeypatch):
    monkeypatch.delenv("DRIVENMORPH_DATA", raising=False)
    path = parse_config("data: {path: $DRIVENMORPH_DATA/ixi_2mm}").data.path
    checkout = pathlib.Path(__file__).resolve().parents[1]
    assert path == str(checkout.parent / "shared" / "data" / "ixi_2mm")


def test_prepared_data_stand_for_the_files_of_a_config(tmp_path):
    text = (
        "data: {format: folder, path: $NOT_SET/x, labels: $NOT_SET/y.tsv, validation_path: ../z,\n"
        "  reference: $NOT_SET/r, label_maps: $NOT_SET/m, shape: [16, 16, 16]}"
    )
    data = parse_config(text, [f"data.prepared={tmp_path}"]).data
    assert data.prepared == str(tmp_path) and data.shape == (16, 16, 16)
    for name in ("path", "labels", "validation_path", "reference", "label_maps"):
        assert getattr(data, name) is None
    for override in ("data.path=/other", "data.labels=freesurfer"):
        with pytest.raises(InputError, match=f"{override.split('=')[0]}: not used with"):
            parse_config(text, [f"data.prepared={tmp_path}", override])
    # What was trained on arrays may be evaluated on files.
    saved = f"data: {{format: folder, prepared: {tmp_path}}}"
    data = parse_config(saved, ["data.prepared=null", f"data.path={tmp_path}"]).data
    assert data.prepared is None and data.path == str(tmp_path)
