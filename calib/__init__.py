"""Learning an array's gain, phase and position errors from live signals, without labels."""
