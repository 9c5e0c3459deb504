"""Keeps secrets out of every text that leaves the process (S14)."""

import logging

MASK = "***"
SHORTEST = 8
"""Shorter values would mask ordinary words."""
SDK_LOGGERS = ("pysdk", "bpx", "urllib3", "websockets", "aiohttp", "eth_account")


class Redactor:
    """Replaces registered secrets; values learned at run time (cookies) are added as they come."""

    def __init__(self, secrets: tuple[str, ...] = ()) -> None:
        self._secrets: list[str] = []
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Register a secret, and its form without a 0x prefix."""
        for form in (secret, secret.removeprefix("0x")):
            if len(form) >= SHORTEST and form not in self._secrets:
                self._secrets.append(form)
        self._secrets.sort(key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return the text with every secret masked."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        return text


class RedactingFilter(logging.Filter):
    """Masks secrets in standard-library log records, arguments and tracebacks included."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; always lets it pass."""
        record.msg = self._redactor.text(record.getMessage())
        record.args = ()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            record.msg += f" ({type(error).__name__}: {self._redactor.text(str(error))})"
            record.exc_info = None
        return True


def tame_sdk_loggers(redactor: Redactor) -> None:
    """Cap the SDKs' loggers at WARNING and mask what they still say.

    grvt-pysdk logs keys and cookies at INFO (venues.md A10, G9).
    """
    for name in SDK_LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        logger.addFilter(RedactingFilter(redactor))
