"""Readers and writers for other tools' files."""
