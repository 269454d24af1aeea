"""Errors that are a user's to mend. Each carries one line: what, what was got, what to do.

    UserError
    ├── ProfileError      a profile's key, value or syntax
    ├── DataError         token files, texts, tokenizers
    ├── CheckpointError   a checkpoint that is missing, damaged or of another shape
    ├── DeviceError       a device or a precision that this machine does not have
    ├── RunError          a run folder that is in use, exists already or is missing
    └── DivergedError     training that no longer gives usable steps

The command line prints the line and exits with 2. Anything else that is raised is our bug and exits with 1.
"""


class UserError(Exception):
    """Base of all errors that a user can mend."""


class ProfileError(UserError):
    """A profile's key, value or syntax is wrong."""


class DataError(UserError):
    """Token files, texts or tokenizers cannot be used as they are."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged or of another shape."""


class DeviceError(UserError):
    """The device or the precision asked for is not on this machine."""


class RunError(UserError):
    """The run folder is in use, exists already or is missing."""


class DivergedError(UserError):
    """Training no longer gives usable steps, and nobody is there to ask what to do."""
