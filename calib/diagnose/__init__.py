"""What is wrong with an array or its wiring, from unlabelled data: ports, cables, channels, lobes, multipath."""
