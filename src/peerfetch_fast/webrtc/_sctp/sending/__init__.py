"""The parts of the sending half (``send``): queue, outstanding data, SACKs, losses and pace."""
