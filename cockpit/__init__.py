"""The cockpit: the screen and the command line around the engine."""

__version__ = "0.1.0"
