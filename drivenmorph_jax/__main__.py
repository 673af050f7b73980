"""`python -m drivenmorph_jax` is the command `drivenmorph`."""

import sys

from drivenmorph_jax.cli import main

sys.exit(main())
