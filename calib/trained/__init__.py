"""Trained networks with everything that is needed to use them."""
