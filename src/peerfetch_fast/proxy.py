"""``python -m peerfetch_fast.proxy``: the same as ``peerfetch proxy``."""

import sys

from peerfetch_fast.cli import main

if __name__ == "__main__":
    main(["proxy", *sys.argv[1:]], prog_name="peerfetch")
