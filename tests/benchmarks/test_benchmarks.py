"""The benchmarks start without a package that reads images, and compare what is the same."""

import importlib
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = [
    "model.channels=[2]",
    "model.iterations=[0, 1]",
    "model.squarings=[1]",
    "model.residual_channels=[0]",
    "model.cross_attention=[]",
    "model.self_attention=[]",
    "loss.force_weight=0",
    "loss.similarity=mse",
]
SHAPE = (8, 12, 8)


@pytest.fixture
def load(monkeypatch):
    """A benchmark's module by its name; they import each other as scripts do."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


def test_they_and_the_library_import_without_nibabel():
    names = ["operations", "scaling", "profile_step", "speed", "sharding", "drivenmorph_jax"]
    code = "import sys; sys.modules['nibabel'] = None\n" + "".join(f"import {n}\n" for n in names)
    code += "drivenmorph_jax.register, drivenmorph_jax.warp, drivenmorph_jax.WorldMap"
    path = f"{ROOT / 'benchmarks'}:{ROOT}"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": path})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["warp", "box", "gaussian", "attention", "convolution"])
def test_alternatives_compute_what_ours_computes(load, name):
    cases = load("operation_cases")
    operation = next(cases.make_operations((16, 24, 16), (name,)))
    inside = (slice(4, -4),) * 3  # beyond the edge each has its own idea of the image
    ours = jax.tree.leaves(operation.ours(*operation.arrays))
    for other in operation.others.values():
        for one, two in zip(ours, jax.tree.leaves(other(*operation.arrays)), strict=True):
            lead = (slice(None),) * (one.ndim - 4)
            place = (*lead, *(inside if min(one.shape[-4:-1]) > 8 else ()))
            # Gaussian taps end at four sigma.
            np.testing.assert_allclose(one[place], two[place], atol=5e-4)


@pytest.mark.slow
def test_sizes_are_a_table(load, capsys, monkeypatch):
    scaling = load("scaling")
    overrides = [part for value in TINY for part in ("--override", value)]
    shape = ",".join(map(str, SHAPE))
    arguments = ["scaling.py", "sizes", "--shapes", shape, "--levels", "2", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", arguments + overrides)
    scaling.main()
    printed = capsys.readouterr().out
    assert "| 8×12×8 | 2 |" in printed and "| voxels | levels |" in printed


def test_devices_are_compared_with_one(load, capsys, monkeypatch):
    scaling = load("scaling")
    found = lambda _, backend, count, batch: {"seconds": batch / count, "gib": 0.5}  # noqa: E731
    monkeypatch.setattr(scaling, "in_process", found)
    arguments = ["scaling.py", "devices", "--backends", "mesh", "--counts", "1", "2"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--pairs", "4"])
    scaling.main()
    printed = capsys.readouterr().out
    assert "| mesh | 1 | 4 | 1.00 | 1 | 1.00 | 0.500 |" in printed
    assert "| mesh | 2 | 2 | 2.00 | 1 | 1.00 | 0.500 |" in printed


@pytest.mark.parametrize("levels", ["1", "9"])
def test_levels_that_the_config_has_not_are_refused(levels, load, monkeypatch):
    scaling = load("scaling")
    monkeypatch.setattr(sys, "argv", ["scaling.py", "sizes", "--levels", levels])
    with pytest.raises(SystemExit, match="the config has 4, ask for 2 to 4"):
        scaling.main()


PROGRAM = """HloModule jit_step

FileNames
1 "/elsewhere/script.py"
2 "/there/drivenmorph_jax/spatial/filters.py"

FunctionNames
1 "main"
2 "box_mean.<locals>.one"

FileLocations
1 {file_name_id=1 function_name_id=1 line=1 end_line=1 column=0 end_column=9}
2 {file_name_id=2 function_name_id=2 line=5 end_line=5 column=0 end_column=9}
3 {file_name_id=1 function_name_id=1 line=7 end_line=7 column=0 end_column=9}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}
3 {file_location_id=3 parent_frame_id=3}

ENTRY %main {
  %add.1 = f32[8]{0} add(%a, %b), metadata={op_name="jit(step)/add" stack_frame_id=3}
  ROOT %add.2 = f32[8]{0} add(%a, %b), metadata={op_name="jit(step)/transpose(jvp())/add" stack_frame_id=2}
  %add.3 = f32[8]{0} add(%a, %b), metadata={op_name="jit(step)/add" stack_frame_id=1}
  %transpose.5 = f32[8]{0} transpose(%a), metadata={op_name="jit(step)/transpose" stack_frame_id=2}
  %while.4 = (s32[], f32[8]{0}) while(%t), body=%b, metadata={op_name="x" stack_frame_id=2}
}
"""  # noqa: E501


def test_an_operation_comes_from_the_innermost_function_of_the_library(load):
    profile = load("profile_step")
    found = profile.origins(PROGRAM)
    assert found == {
        "add.1": ("spatial/filters", "box_mean", False),  # called from there
        "add.2": ("spatial/filters", "box_mean", True),
        "add.3": ("(XLA)", "", False),
        "transpose.5": ("spatial/filters", "box_mean", False),
    }
    spent = profile.group({"add.1": 1.0, "add.2": 2.0, "add.3": 1.0, "while.4": 9.0}, found)
    table = profile.make_table(spent, steps=2, top=1).splitlines()
    assert table[2] == "| `spatial/filters` box_mean | 0.500 | 1.000 | 75.0 % |"
    assert table[3] == "| the rest | 0.500 | 0.000 | 25.0 % |"


@pytest.mark.slow
def test_a_profile_counts_the_time_for_the_functions_of_the_library(load, capsys, monkeypatch):
    profile = load("profile_step")
    overrides = [part for value in TINY for part in ("--override", value)]
    arguments = ["profile_step.py", "--shape", *map(str, SHAPE), "--steps", "1"]
    monkeypatch.setattr(sys, "argv", arguments + overrides)
    profile.main()
    printed = capsys.readouterr().out
    assert "`spatial/convolution`" in printed and "`spatial/sampling`" in printed
    shares = [float(line.split("|")[-2].strip(" %")) for line in printed.splitlines()[2:-1]]
    assert sum(shares) == pytest.approx(100, abs=1)
