"""What a compiled program moves between devices."""

import math
import re

import jax

_OPERATION = re.compile(r"= (.*?) (all-gather|all-reduce|collective-permute)(?:-start)?\(")
_ARRAY = re.compile(r"\w+\[([\d,]*)\]")


def largest(operation, function, *arguments):
    """Elements of the largest array that an operation of this kind yields; 0 if there is none."""
    text = jax.jit(function).lower(*arguments).compile().as_text()
    sizes = [0]
    for line in text.splitlines():
        found = _OPERATION.search(line)
        if found and found[2] == operation:
            shapes = _ARRAY.findall(found[1])
            sizes += [math.prod(int(n) for n in shape.split(",") if n) for shape in shapes]
    return max(sizes)
