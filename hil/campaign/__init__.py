"""Campaigns of a turntable: the plan, and the folder that a sweep leaves."""
