"""Learning an array: blocks out of a stream, the learner beside the capture, and the use of its result."""
