"""``python -m kacflow.demo``."""

import sys

from kacflow.demo import main

sys.exit(main())
