"""Watching a stream: faults are found live, named, and told with what to do."""
