"""The exported program needs JAX and safetensors alone, and does what the library does."""

import hashlib
import json
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from drivenmorph_jax.cli import main
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model import ModelConfig, register
from drivenmorph_jax.model.weights import flat_parameters, nested_parameters, save_weights
from drivenmorph_jax.pipeline.program import export_program, save_program

MODEL = ModelConfig(
    channels=(2,),
    iterations=(0, 1),
    cross_attention=(),
    self_attention=(),
    residual_channels=(0, 0),
    squarings=(1,),
    demon_channels=2,
)
SHAPE = (8, 10, 6)

# Of another process, in which the library cannot be imported.
USER = """
import pathlib, sys
sys.modules["drivenmorph_jax"] = None
import jax, numpy as np
from safetensors.numpy import load_file

folder = pathlib.Path(sys.argv[1])
program = jax.export.deserialize(bytearray((folder / "register.jax_export").read_bytes()))
weights = load_file(folder / "weights.safetensors")
pairs = np.load(folder / "pairs.npz")
found = {
    str(n): np.asarray(program.call(weights, pairs["fixed"][:n], pairs["moving"][:n]))
    for n in (1, 3)
}
np.savez(folder / "found.npz", **found)
"""


@pytest.fixture(scope="module")
def program():
    return export_program(MODEL, SHAPE)


def test_it_reproduces_register_where_there_is_no_library(program, tmp_path):
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(0, 0.3, leaf.shape).astype(np.float32)
        for name, leaf in flat_parameters(MODEL).items()
    }
    params = nested_parameters(weights, MODEL)
    save_weights(tmp_path, params, MODEL)
    save_program(tmp_path, program)
    fixed, moving = rng.uniform(1, 100, (2, 3, *SHAPE, 1)).astype(np.float32)
    np.savez(tmp_path / "pairs.npz", fixed=fixed, moving=moving)
    subprocess.run([sys.executable, "-c", USER, tmp_path], check=True, cwd=tmp_path, timeout=300)
    run = jax.jit(lambda f, m: register(params, f, m, MODEL).displacement)
    wanted = np.stack([run(f, m) for f, m in zip(fixed, moving, strict=True)])
    assert np.abs(wanted).max() > 0.02
    found = np.load(tmp_path / "found.npz")
    np.testing.assert_allclose(found["1"], wanted[:1], atol=1e-5)
    np.testing.assert_allclose(found["3"], wanted, atol=1e-5)


def test_the_file_beside_it_says_what_it_is(program, tmp_path):
    save_program(tmp_path, program)
    assert {path.name for path in tmp_path.iterdir()} == {"register.jax_export", "register.json"}
    described = json.loads((tmp_path / "register.json").read_text())
    image = {"shape": ["batch", *SHAPE, 1], "dtype": "float32"}
    assert described["inputs"]["fixed"] == described["inputs"]["moving"] == image
    assert described["output"]["displacement"]["shape"] == ["batch", *SHAPE, 3]
    assert described["platforms"] == ["cpu", "cuda", "tpu"]
    assert described["jax"] == jax.__version__
    content = (tmp_path / "register.jax_export").read_bytes()
    assert described["sha256"] == hashlib.sha256(content).hexdigest()


def test_each_platform_keeps_its_own_convolution(program):
    exported = jax.export.deserialize(bytearray(program.content))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    text = exported.mlir_module()
    assert "_platform_index" in text
    layouts = re.findall(r"stablehlo\.convolution.*?dim_numbers = \[(.*?)\]x", text)
    assert {layout.count(",") for layout in layouts} == {3, 4}  # a CPU's in 2-D, native in 3-D


def test_it_names_no_folder_of_the_machine(program):
    text = str(__file__).split("/tests/", maxsplit=1)[0].encode()
    assert text not in program.content
    assert b"site-packages" not in program.content


def test_an_axis_without_voxels_is_refused():
    with pytest.raises(InputError, match=r"\[8, 0, 8\] voxels"):
        export_program(MODEL, (8, 0, 8))


def test_the_command_refuses_two_axes(tmp_path):
    arguments = ["export", str(tmp_path), "--output", str(tmp_path / "out"), "--program", "8", "8"]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert not (tmp_path / "out").exists()
