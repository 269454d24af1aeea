"""Who may look at the served screen: whoever has the link first, and nobody from another site or machine."""

from __future__ import annotations

import re
import secrets

from gpt.errors import RunError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""The only hosts that are listened on, and the only names by which a browser may call."""
_CALLED = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?")


def check_host(host: str) -> None:
    """Raises RunError for a host that other machines can reach."""
    if host not in LOOPBACK:
        raise RunError(
            f"serve listens on this machine alone (127.0.0.1, ::1 or localhost); got --host {host!r}: from another "
            "machine, use ssh -L 8000:127.0.0.1:8000"
        )


class Door:
    """Lets in who comes with the token, once; from then on, whoever has the cookie that was given in exchange."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)
        """For the link; void after its first use."""
        self._key = secrets.token_urlsafe(32)
        self._is_void = False

    def exchange(self, token: str) -> str | None:
        """The cookie's value for the token, the first time; else None."""
        if self._is_void or not _same(token, self.token):
            return None
        self._is_void = True
        return self._key

    def admits(self, cookie: str | None) -> bool:
        """Whether a cookie is the one that was given out."""
        return self._is_void and cookie is not None and _same(cookie, self._key)


def is_called_by_loopback(host: str) -> bool:
    """Whether a request's Host is a name of this machine itself, at any port, as `ssh -L` leads to it.

    A name of somebody else's that leads to 127.0.0.1 (DNS rebinding) is not.
    """
    return _CALLED.fullmatch(host) is not None


def is_own_page(origin: str | None, host: str) -> bool:
    """Whether a WebSocket is opened by a page that came from here."""
    return origin == f"http://{host}"


def _same(offered: str, secret: str) -> bool:
    """Compares in a time that tells nothing of where they differ."""
    return secrets.compare_digest(offered.encode(errors="replace"), secret.encode())
