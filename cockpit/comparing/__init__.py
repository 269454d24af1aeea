"""Runs beside each other: where they stand at equal steps, tokens, FLOPs and seconds, and why. No torch, no screen."""
