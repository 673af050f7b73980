"""The one exception that a user's input can cause."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that names the thing and the mend. It is raised where input enters
    (files, configs, the command line), never inside the numerical core; the command line prints it
    and exits with code 2.
    """
