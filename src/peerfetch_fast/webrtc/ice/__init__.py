"""Interactive connectivity establishment: an agent without sockets or a clock, and what gathers."""
