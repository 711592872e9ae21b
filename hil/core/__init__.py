"""The floor of the project: nouns of the field, numpy and the standard library only."""
