"""Where settings come from: the env file and the TOML file, read as text values."""

import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path

EXIT_USAGE = 2
EXIT_CONFIG = 78

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


class ConfigError(Exception):
    """A setting that cannot be used; one line naming field, value and remedy.

    ``exit_code`` is 2 for the command line, 78 for files, environment and credentials.
    """

    def __init__(self, exit_code: int, line: str) -> None:
        super().__init__(line)
        self.exit_code = exit_code


def read_env_file(path: Path) -> dict[str, str]:
    """Read ``KEY=VALUE`` lines: comments, ``export``, single and double quotes.

    Raises:
        ConfigError: unreadable file, or a line that is none of these. No value is ever quoted.
    """
    values: dict[str, str] = {}
    for index, line in enumerate(_read(path, "--env-file").splitlines(), 1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        match = _LINE.fullmatch(bare)
        if match is None:
            raise ConfigError(
                EXIT_CONFIG, f"{path}, line {index}: not KEY=VALUE; mend or remove the line"
            )
        try:
            values[match[1]] = _unquote(match[2])
        except ValueError as bad:
            raise ConfigError(EXIT_CONFIG, f"{path}, line {index}: {match[1]}: {bad}") from bad
    return values


def _unquote(text: str) -> str:
    if text[:1] == "'":
        end = text.find("'", 1)
        return _closed(text, end, text[1:end])
    if text[:1] == '"':
        match = re.match(r'"((?:[^"\\]|\\.)*)"', text)
        if match is None:
            return _closed(text, -1, "")
        inner = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), match[1])
        return _closed(text, match.end() - 1, inner)
    return re.split(r"(?:^|\s+)#", text, maxsplit=1)[0].rstrip()


def _closed(text: str, end: int, inner: str) -> str:
    if end < 0:
        raise ValueError("the closing quote is missing")
    rest = text[end + 1 :].strip()
    if rest and not rest.startswith("#"):
        raise ValueError("text after the closing quote")
    return inner


def read_toml(path: Path, known: Mapping[str, tuple[str, ...]]) -> dict[tuple[str, str], str]:
    """Read a TOML file into text values by (section, key); the top level is section ``""``.

    Args:
        path: the file.
        known: the keys allowed in each section; hyphens in the file count as underscores.

    Raises:
        ConfigError: unreadable, not TOML, an unknown key (names the nearest one), a list.
    """
    try:
        tree = tomllib.loads(_read(path, "--config"), parse_float=Decimal)
    except (tomllib.TOMLDecodeError, RecursionError) as bad:
        raise ConfigError(EXIT_CONFIG, f"{path}: not TOML: {bad}") from bad
    values: dict[tuple[str, str], str] = {}
    for name, value in tree.items():
        key = name.replace("-", "_")
        if isinstance(value, dict):
            if key not in known or not key:
                raise _unknown(path, f"[{name}]", key, [s for s in known if s])
            for inner, entry in value.items():
                _take(values, known, path, (key, inner), entry)
        else:
            _take(values, known, path, ("", name), value)
    return values


def _take(
    values: dict[tuple[str, str], str],
    known: Mapping[str, tuple[str, ...]],
    path: Path,
    place: tuple[str, str],
    value: object,
) -> None:
    section, name = place
    key = name.replace("-", "_")
    shown = f"{section}.{name}" if section else name
    if key not in known[section]:
        raise _unknown(path, shown, key, known[section])
    if (section, key) in values:
        raise ConfigError(EXIT_CONFIG, f"{path}: {shown}: given twice; keep one")
    if isinstance(value, bool):
        values[section, key] = "true" if value else "false"
    elif isinstance(value, str | int | Decimal):
        values[section, key] = str(value)
    else:
        raise ConfigError(EXIT_CONFIG, f"{path}: {shown}: must be one number or text")


def _unknown(path: Path, shown: str, key: str, known: tuple[str, ...] | list[str]) -> ConfigError:
    close = get_close_matches(key, known, 1, 0.5)
    remedy = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
    return ConfigError(EXIT_CONFIG, f"{path}: unknown key {shown}; {remedy}")


def _read(path: Path, flag: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as bad:
        raise ConfigError(
            EXIT_CONFIG, f"{flag} {path}: {bad.strerror}; give a readable file"
        ) from bad
    except UnicodeDecodeError as bad:
        raise ConfigError(EXIT_CONFIG, f"{flag} {path}: not UTF-8 text") from bad
