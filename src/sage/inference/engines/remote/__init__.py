"""Engines on a Ray cluster: an actor runs each on a node, and the supervisor here keeps them."""
