"""The programs that benchmarks run: each is one end of a data channel, in one stack."""
