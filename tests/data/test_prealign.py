"""Preparation: worked out once, better aligned than before, and never half-written."""

import dataclasses
import threading

import nibabel as nib
import numpy as np
import pytest

from drivenmorph_jax.alignment import Alignment
from drivenmorph_jax.data import (
    DataConfig,
    SubjectFile,
    list_subjects,
    phantom_subject,
    prealign,
)
from drivenmorph_jax.data.cache import CachedSubjects, read_cached, write_cached
from drivenmorph_jax.data.prealign import cache_folder, open_reference, prepare
from drivenmorph_jax.data.reading import read_image
from drivenmorph_jax.data.subject import Subject
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import resample
from drivenmorph_jax.pipeline.working_space import to_working_space


def run(cfg, **changes):
    cfg = dataclasses.replace(cfg, **changes)
    files = list_subjects(cfg).training
    lines = []
    subjects = prepare(files, open_reference(cfg, files), cfg, progress=lines.append)
    return subjects, lines


def test_cache_is_hit_until_something_changes(layout):
    cfg = dataclasses.replace(layout("folder"), prealign=False)
    first, lines = run(cfg)
    assert len(lines) == 4 and "1 of 4" in lines[0]
    second, lines = run(cfg)
    assert lines == []
    for one, other in zip(first, second, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.labels, other.labels)
    # Another grid and another reference concern everybody, a new file only one.
    assert len(run(cfg, shape=(22, 24, 22))[1]) == 4
    assert len(run(cfg, spacing=(7.0, 7.0, 7.0), shape=(24, 24, 24))[1]) == 4
    assert len(run(cfg, reference=f"{cfg.path}/val/case4_t1.nii.gz")[1]) == 4
    path = list_subjects(cfg).training[2].image_path
    image = read_image(path)
    nib.save(nib.Nifti1Image(image.data * 2, image.affine), path)
    assert len(run(cfg)[1]) == 1


def test_damaged_cache_file_is_worked_out_again(layout):
    cfg = dataclasses.replace(layout("folder"), prealign=False)
    run(cfg)
    for path in list(cache_folder(cfg).glob("*.npz"))[:2]:
        path.write_bytes(path.read_bytes()[:100])
    assert len(run(cfg)[1]) == 2
    assert not [p for p in cache_folder(cfg).iterdir() if p.suffix != ".npz"]


def test_without_alignment_voxels_are_only_cropped_and_padded(layout):
    subjects, _ = run(layout("folder"), prealign=False)
    for index, subject in enumerate(subjects):
        original = phantom_subject(index, (16, 18, 16))
        assert subject.image.dtype == np.float16 and subject.image.shape == (20, 22, 20)
        assert original.labels is not None and subject.labels is not None
        scale = np.percentile(original.image[original.image > 0], 99.9)
        inside = tuple(slice(b.min(), b.max() + 1) for b in np.nonzero(subject.image))
        kept = tuple(slice(b.min(), b.max() + 1) for b in np.nonzero(original.image))
        np.testing.assert_allclose(subject.image[inside], original.image[kept] / scale, atol=1e-3)
        np.testing.assert_array_equal(subject.labels[inside], original.labels[kept])
        assert subject.image.min() == 0 and 0.9 < subject.image.max() < 1.3


def test_a_finer_image_is_trained_on_as_it_is_registered(layout):
    cfg = dataclasses.replace(layout("folder"), prealign=False)
    coarse = dataclasses.replace(cfg, spacing=(16.0, 16.0, 16.0), shape=(12, 12, 12))
    file = list_subjects(cfg).training[0]
    subjects, _ = run(coarse)
    image = read_image(file.image_path)
    grid = open_reference(coarse, [file]).grid
    seen = to_working_space(image, image, np.eye(4), grid).fixed
    np.testing.assert_allclose(subjects[0].image, seen, atol=1e-3)
    sharp = resample(image, *grid).data
    assert np.abs(subjects[0].image - sharp / sharp.max()).max() > 0.1, "nothing was blurred"


def test_on_disk_or_in_memory(layout):
    cfg = dataclasses.replace(layout("folder"), prealign=False)
    held, _ = run(cfg)
    lazy, _ = run(cfg, in_memory=False)
    assert isinstance(lazy, CachedSubjects) and lazy.names == tuple(s.name for s in held)
    np.testing.assert_array_equal(lazy[2].image, held[2].image)
    assert [s.name for s in lazy[1:3]] == [s.name for s in held[1:3]]
    assert lazy.choose([3, 0]).names == (held[3].name, held[0].name)


def rotation(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def write_pose(path, shift, angle, spacing):
    """The phantom of seed 0, 200 mm wide, turned about z and moved in its world."""
    size = round(200 / spacing)
    subject = phantom_subject(0, (size, size, size), noise=0, bias=0)
    assert subject.labels is not None
    affine = np.eye(4)
    affine[:3, :3] = rotation(angle) * 200 / size
    affine[:3, 3] = shift - affine[:3, :3] @ np.full(3, (size - 1) / 2)
    labels = path.with_name("labels_" + path.name)
    nib.save(nib.Nifti1Image(subject.image, affine), path)
    nib.save(nib.Nifti1Image(subject.labels.astype(np.uint8), affine), labels)
    return SubjectFile(path.name, path, labels)


SHIFT, ANGLE = np.array([14.0, -9.0, 11.0]), 0.3


@pytest.fixture
def overlap(tmp_path):
    """Overlap of two poses of one brain on the common grid, aligned or not."""
    files = [
        write_pose(tmp_path / "a.nii.gz", np.zeros(3), 0.0, 7.0),
        write_pose(tmp_path / "b.nii.gz", SHIFT, ANGLE, 6.0),
    ]

    def measure(prealign):
        cfg = DataConfig(shape=(28, 28, 28), prealign=prealign, cache=str(tmp_path / "cache"))
        fixed, moving = (s.labels for s in prepare(files, open_reference(cfg, files), cfg))
        assert fixed is not None and moving is not None
        same = (fixed == moving) & (fixed > 0)
        return 2 * same.sum() / ((fixed > 0).sum() + (moving > 0).sum())

    return measure


def test_matrix_is_applied_the_right_way(overlap, monkeypatch):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(ANGLE), SHIFT
    found = Alignment(matrix, np.ones(()), np.ones(()))  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(prealign, "align", lambda *_, **__: found)
    assert overlap(False) < 0.5 and overlap(True) > 0.8


@pytest.mark.slow
def test_alignment_improves_the_overlap(overlap):
    assert overlap(False) < 0.5 and overlap(True) > 0.75


def test_grid_too_small_and_subject_elsewhere(layout, tmp_path):
    cfg = layout("folder")
    with pytest.raises(InputError, match=r"data\.shape \[8, 8, 8\] holds"):
        run(cfg, shape=(8, 8, 8))
    files = list_subjects(cfg).training[:1]
    far = np.diag([8.0, 8.0, 8.0, 1.0])
    far[:3, 3] = 900
    nib.save(nib.Nifti1Image(phantom_subject(1, (16, 18, 16)).image, far), tmp_path / "far.nii.gz")
    cfg = dataclasses.replace(cfg, prealign=False)
    with pytest.raises(InputError, match=r"data\.prealign"):
        prepare([SubjectFile("far", tmp_path / "far.nii.gz")], open_reference(cfg, files), cfg)
    with pytest.raises(InputError, match=r"data\.reference"):
        open_reference(cfg, [])


def _write_many(path, value, count):
    for _ in range(count):
        write_cached(path, Subject("", np.full((24, 24, 24), value, np.float16)))


def test_writers_at_once_leave_a_whole_file(tmp_path):
    path = tmp_path / "cache" / "a.npz"
    workers = [threading.Thread(target=_write_many, args=(path, v, 20)) for v in (1, 2)]
    for worker in workers:
        worker.start()
    seen = set()
    while any(worker.is_alive() for worker in workers):
        if path.exists():
            subject = read_cached(path)
            assert subject is not None
            values = np.unique(subject.image)
            assert len(values) == 1
            seen.add(float(values[0]))
    for worker in workers:
        worker.join()
    assert seen and [p.name for p in path.parent.iterdir()] == ["a.npz"]


def test_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(DataConfig()) == tmp_path / "drivenmorph" / "subjects"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"data\.cache"):
        write_cached(tmp_path / "file" / "a.npz", Subject("", np.zeros((1, 1, 1))))
