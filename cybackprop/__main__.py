"""python -m cybackprop: the command line."""

import sys

from cybackprop.cli.main import main

sys.exit(main())
