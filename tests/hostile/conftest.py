"""The attacker and what watches its victims are of Linux."""

import sys

collect_ignore = [] if sys.platform == "linux" else ["test_hostile.py"]
