"""Who is let in: hosts, token, cookie and origin, without a server."""

from __future__ import annotations

import pytest

from cockpit.web.door import Door, check_host, is_called_by_loopback, is_own_page
from gpt.errors import RunError


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
def test_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(RunError, match="this machine alone"):
        check_host(host)


def test_the_token_opens_once_and_its_cookie_from_then_on() -> None:
    door = Door()
    assert door.exchange("guess") is None
    key = door.exchange(door.token)
    assert key and key != door.token
    assert door.exchange(door.token) is None
    assert door.admits(key)
    assert not door.admits(door.token) and not door.admits(None) and not door.admits("")


def test_no_cookie_opens_before_the_token_was_used() -> None:
    door = Door()
    assert not door.admits(door._key)


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1:8000", True), ("localhost:9000", True), ("[::1]:8000", True), ("localhost", True),
        ("evil.example:8000", False), ("127.0.0.1.evil.example:8000", False), ("", False), ("localhost:8000; x", False),
    ],
)  # fmt: skip
def test_a_name_of_somebody_elses_that_leads_here_is_no_host_of_ours(host: str, ours: bool) -> None:
    assert is_called_by_loopback(host) is ours


def test_only_a_page_of_the_same_host_and_port_may_open_the_line() -> None:
    assert is_own_page("http://localhost:9000", "localhost:9000")
    for origin in (None, "null", "http://localhost:9001", "https://localhost:9000", "http://evil.example"):
        assert not is_own_page(origin, "localhost:9000")
