"""A report of a run that is read without the program: what it says, its plots, and how both are written."""
