"""Names of a package, each imported from its module when first used (PEP 562)."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_names(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """What a package binds to `__getattr__`, `__dir__` and `__all__`.

    Args:
        package: its `__name__`.
        modules: the names, by the module below it that has them.
    """
    module_of = {name: module for module, names in modules.items() for name in names}
    known = sorted(module_of)

    def find(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)

    return find, lambda: known, known
