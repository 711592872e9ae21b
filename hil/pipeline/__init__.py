"""Bounded queues with a policy and a counter each, threads with a lifecycle, and loss accounting."""
