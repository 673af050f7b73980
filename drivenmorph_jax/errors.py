"""The one exception that a user's input can cause, and how others are told."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that names the thing and the mend. It is raised where input enters
    (files, configs, the command line), never inside the numerical core; the command line prints it
    and exits with code 2.
    """


def plain_reason(error: Exception, *, memory: str = "crop the images") -> str | None:
    """One line about what is no fault of the program: unusable input, a file that the system
    refuses, no memory.

    None where it may be one, and where to look is told by the traceback alone. `memory` is what
    helps where there is not enough.
    """
    if isinstance(error, InputError):
        return str(error)
    # JAX's own exception of a device that is full is a RuntimeError.
    full = isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
    if full or isinstance(error, MemoryError):
        return f"not enough memory: {memory}, or use a machine with more"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}: check the path and its permissions"
    return None
