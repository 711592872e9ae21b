"""Following drift of the phases block by block."""
