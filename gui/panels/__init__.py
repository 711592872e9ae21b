"""The panels of the window: each shows one thing, each is a dock that can be moved and closed."""
