"""The engine: trains a GPT on one device, usable as a library without the screen."""
