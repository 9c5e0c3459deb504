"""What the whole suite shares: the record of how the tests of each fault ended."""

from tests.faults.recorder import pytest_configure

__all__ = ["pytest_configure"]
