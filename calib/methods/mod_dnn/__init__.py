"""MoD-DNN (Liu et al. 2025): directions of one source per block through an array whose phase errors depend on the angle."""
