"""Multi-target sensing and communication with one array: beams, matching pursuit, learning of the array."""
