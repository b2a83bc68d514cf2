"""The parts of the receiving half (``receive``): TSNs and SACKs, reassembly, order of streams."""
