"""Keeps secrets out of every text that leaves the process (S14). Imports nothing of ours."""

import logging

MASK = "***"
SHORTEST = 8
"""Shorter values would mask ordinary words."""
KEPT = 64
"""Values learned at run time (session cookies) that are remembered; the oldest go first."""
SDK_LOGGERS = ("pysdk", "bpx", "urllib3", "websockets", "aiohttp", "eth_account")


class Redactor:
    """Replaces registered secrets; values learned at run time (cookies) are added as they come."""

    def __init__(self, secrets: tuple[str, ...] = ()) -> None:
        self._fixed: frozenset[str] = frozenset(_forms(secrets))
        self._learned: list[str] = []
        self._longest_first: tuple[str, ...] = ()
        self._sort()

    def add(self, secret: str) -> None:
        """Register one more secret, and its form without a 0x prefix."""
        for form in _forms((secret,)):
            if form not in self._fixed and form not in self._learned:
                self._learned.append(form)
        del self._learned[:-KEPT]
        self._sort()

    def text(self, text: str) -> str:
        """Return the text with every secret masked."""
        for secret in self._longest_first:
            if secret in text:
                text = text.replace(secret, MASK)
        return text

    def _sort(self) -> None:
        # A secret may contain another one: the longer must go first, or its rest would remain.
        self._longest_first = tuple(sorted((*self._fixed, *self._learned), key=len, reverse=True))


def _forms(secrets: tuple[str, ...]) -> list[str]:
    forms = {form for secret in secrets for form in (secret, secret.removeprefix("0x"))}
    return [form for form in sorted(forms) if len(form) >= SHORTEST]


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
        record.exc_info = record.exc_text = None
        return True


class _Forward(logging.Handler):
    """Hands records to the root logger's handlers; its filters see children's records too."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger().handle(record)


def tame_sdk_loggers(redactor: Redactor) -> None:
    """Cap the SDKs' loggers at WARNING and mask what they still say, their children included.

    grvt-pysdk logs keys and cookies at INFO (venues.md A10, G9). A logger's own filter does not see
    its children's records, a handler's filter does. Calling again replaces the redactor.
    """
    for name in SDK_LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        forward = _Forward()
        forward.addFilter(RedactingFilter(redactor))
        logger.handlers[:] = [forward]
    for name in tuple(logging.root.manager.loggerDict):
        if name.partition(".")[0] in SDK_LOGGERS and name not in SDK_LOGGERS:
            child = logging.getLogger(name)
            child.handlers.clear()
            child.propagate = True
            child.setLevel(logging.NOTSET)
