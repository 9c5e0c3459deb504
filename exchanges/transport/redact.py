"""Keeps secrets out of every text that leaves the process (S14). Imports nothing of ours."""

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
        forms = sorted({*self._fixed, *self._learned})
        self._longest_first = tuple(sorted(forms, key=len, reverse=True))


def _forms(secrets: tuple[str, ...]) -> list[str]:
    forms = {form for secret in secrets for form in (secret, secret.removeprefix("0x"))}
    return [form for form in sorted(forms) if len(form) >= SHORTEST]
