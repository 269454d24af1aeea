"""Every number on the screen explained, with the run's own figures in the formulas. No torch, no screen."""
