"""How many workers, and why. Pure: no clock, no I/O; imported by all, importing none."""
