"""``python -m peerfetch_fast.proxy``: the same as ``peerfetch proxy``."""

from peerfetch_fast.cli.proxy import proxy

if __name__ == "__main__":
    proxy(prog_name="python -m peerfetch_fast.proxy")
