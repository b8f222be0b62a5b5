"""Many runs over one axis of load, and the knee where goodput ends."""
