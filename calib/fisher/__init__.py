"""Fisher information of an array and of what its data have shown."""
