"""Responses that depend on the angle: what gains, positions and coupling leave, as tables."""
