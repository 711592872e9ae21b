"""Network servers of one simulated turntable, each with the dialect and the traps of a family of controllers."""
