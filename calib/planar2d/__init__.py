"""Planar arrays with sources at free azimuth and elevation."""
