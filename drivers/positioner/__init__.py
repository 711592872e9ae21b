"""Turntables and rotators: one small protocol, a table of drivers, and when a position counts as reached."""
