import pytest

from drivenmorph_jax.data.split import cyclic_pairs, split_by_hash, split_by_patterns
from drivenmorph_jax.errors import InputError

NAMES = [f"n{i:02d}" for i in range(20)]


def test_cyclic_pairs():
    assert cyclic_pairs(["b", "a", "c"]) == (("a", "b"), ("b", "c"), ("c", "a"))
    with pytest.raises(InputError, match="at least 2"):
        cyclic_pairs(["a"])


def test_split_by_hash():
    kept, held = split_by_hash(NAMES, 5, seed=0)
    assert len(held) == 5 and sorted(kept + held) == NAMES and kept == sorted(kept)
    assert split_by_hash(NAMES[::-1], 5, seed=0)[1] == held[::-1]
    assert split_by_hash(NAMES, 5, seed=1)[1] != held
    fewer = split_by_hash([n for n in NAMES if n != kept[0]], 5, seed=0)[1]
    assert fewer == held
    assert split_by_hash(NAMES, 0, seed=0) == (NAMES, [])
    with pytest.raises(InputError, match=r"data\.holdout"):
        split_by_hash(NAMES[:3], 2, seed=0)


def test_split_by_patterns():
    kept, chosen = split_by_patterns(NAMES, ["n0[1-3]", "n19"])
    assert chosen == ["n01", "n02", "n03", "n19"] and len(kept) == 16
    with pytest.raises(InputError, match="matches no subject"):
        split_by_patterns(NAMES, ["x*"])
    with pytest.raises(InputError, match="every subject"):
        split_by_patterns(NAMES, ["n*"])
