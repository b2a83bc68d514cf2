from peerfetch_fast.cli import main

main(prog_name="peerfetch")
