"""What is wrong with a run, found by itself: evidence in, diagnoses out. No torch, no screen."""
