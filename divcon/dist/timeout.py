"""How long a rank waits for the others before it takes them for lost."""

import os
from datetime import timedelta

VARIABLE = "DIVCON_RANK_TIMEOUT"  # in seconds; a slow disk of one rank must not end the others
TIMEOUT = timedelta(seconds=float(os.environ.get(VARIABLE) or 600))
