"""A simulated array that looks real on the wire: numpy physics behind network servers and the `sim:` driver."""
