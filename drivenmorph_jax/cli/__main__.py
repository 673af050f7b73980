"""python -m drivenmorph_jax.cli"""

import sys

from drivenmorph_jax.cli.command import main

sys.exit(main())
