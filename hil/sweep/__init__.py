"""Turntable sweeps: a plan carried out, point by point, whatever happens in between."""
