"""How right an array description is, where the truth is known."""
