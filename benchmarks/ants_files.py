"""SyN as antspyx has it, from two files to the moved image and the map in files, and its seconds.

python benchmarks/ants_files.py FIXED MOVING OUTPUT

ANTs' own affine first, everything else as it is by default: what a user of antspyx would run.
"""

import itertools
import json
import pathlib
import sys
import time

import ants


def main() -> None:
    fixed_path, moving_path, output = sys.argv[1:]
    folder = pathlib.Path(output)
    folder.mkdir(parents=True)
    marks = [time.perf_counter()]
    fixed, moving = ants.image_read(fixed_path), ants.image_read(moving_path)
    marks.append(time.perf_counter())
    found = ants.registration(
        fixed, moving, type_of_transform="SyN", outprefix=str(folder / "syn_"), random_seed=1
    )
    marks.append(time.perf_counter())
    ants.image_write(found["warpedmovout"], str(folder / "warped.nii.gz"))
    marks.append(time.perf_counter())
    # The maps are written within the registration: ANTs has no other way.
    seconds = [after - before for before, after in itertools.pairwise(marks)]
    stages = dict(zip(("read", "deform", "write"), seconds, strict=True))
    (folder / "seconds.json").write_text(json.dumps(stages))


if __name__ == "__main__":
    main()
