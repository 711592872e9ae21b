"""Calibration from known angles, alone or with unlabelled blocks."""
