"""Keeps the password of a storage out of all that is shown or written.

Where a URL with credentials comes in, on the command line or from a config file, a reference takes
its place, such as `${without_credentials:postgresql://host/db}`. So the password is in no config,
whoever shows, writes or pickles that. Resolved in this process, where it is needed, the reference
is the URL; elsewhere it is what it says.
"""

import logging
import re
import traceback
from collections.abc import Iterator
from itertools import count
from typing import Any
from urllib.parse import quote, unquote

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

RESOLVER = "without_credentials"

_kept: dict[str, str] = {}
"""Arguments of references -> URLs."""

_is_closed = False

_INTERPOLATION = re.compile(r"\$\{[^{}]*\}")


def without_credentials(url: str) -> str:
    """The URL with user, password and all options left out: for all that is shown or written.

    Of one that can be read in two ways only the driver is left.
    """
    if not _holds_credentials(url):
        return url
    driver, found, rest = url.partition("://")
    where, _, options = rest.partition("?")
    place = where if _is_file(url) else where.rpartition("@")[2]
    is_plain = "@" not in options and (_is_file(url) or where.count("@") < 2)
    is_plain = is_plain and not _lacks_host(url)
    if found and is_plain and re.fullmatch(r"[\w.+-]+ [\w.+:/-]*", f"{driver} {place}", re.ASCII):
        return f"{driver}://{place}"
    return f"{driver}://***" if found and re.fullmatch(r"[\w.+-]+", driver, re.ASCII) else "***"


def without_secrets(text: str, url: str) -> str:
    """A message about this storage, without the password: `***` where no more can be said."""
    text = text.replace(url, without_credentials(url))
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def hide(url: str) -> str:
    """A reference in the place of a URL with credentials; another text as it is."""
    if not _holds_credentials(_INTERPOLATION.sub("", url)) or _is_only_interpolated(url):
        return url
    _watch_logs()
    place = without_credentials(url)
    for number in count(1):
        name = place if number == 1 else f"{place},{number}"
        if _kept.setdefault(name, url) == url:
            break
    return f"${{{RESOLVER}:{name}}}"


def hide_in_config(config: Any) -> None:
    """Puts references into `hydra.sweeper` of a config that was read from a file."""
    node = config
    for name in ("hydra", "sweeper"):
        if not isinstance(node, DictConfig) or OmegaConf.is_interpolation(node, name):
            return
        node = node.get(name)
    plain = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node
    for key, text in _texts("hydra.sweeper", plain):
        if (hidden := hide(text)) != text:
            with read_write(config), open_dict(config):
                OmegaConf.update(config, key, hidden)


def as_shown(text: str) -> str:
    """With all references as what they say."""
    return re.sub(rf"\$\{{{RESOLVER}:([^,{{}}]*)(,\d+)?\}}", r"\1", text)


def scrubbed(text: str) -> str:
    """Any text, with `***` in the place of what is kept here, and of what looks like it."""
    for url in _kept.values():
        text = without_secrets(text, url)
    text = re.sub(r"(\w://)[^\s'\"@]*@", r"\1***@", text)
    return re.sub(r"([?&]pass\w*=)[^\s&'\"]+", r"\1***", text)


def close() -> None:
    """From now on this process, too, takes references as what they say."""
    global _is_closed
    _is_closed = True


def _holds_credentials(url: str) -> bool:
    """A file's path may hold an @, and has options only after a question mark."""
    if _lacks_host(url):
        return True
    _, found, rest = url.partition("://")
    if not found:  # a slash that is missing is no reason to show what follows
        return re.match(r"\w[\w+.-]*:.*@", url) is not None
    return "?" in rest or ("@" in rest and not _is_file(url))


def _lacks_host(url: str) -> bool:
    """Whether what stands in the place of a port is none, but a password: `user:password/db`."""
    found = re.match(r"\w[\w+.-]*://([^/?@\[]*)([/?][^@]*)?$", url)
    return found is not None and re.search(r":(?!\d*$)", found[1]) is not None


def _is_file(url: str) -> bool:
    """Whether it has no place for a user."""
    return re.match(r"sqlite[\w+]*:///", url) is not None


def _is_only_interpolated(url: str) -> bool:
    """Whether what is secret in it comes from elsewhere, such as `${oc.env:PASSWORD}`."""
    _, password, options = _parts(url)
    secret = password + "".join(re.findall(r"pass\w*=([^&]*)", options))
    return "${" in secret and not _INTERPOLATION.sub("", secret)


def _parts(url: str) -> tuple[str, str, str]:
    """All before the last @; the password in that; the options."""
    rest = re.sub(r"^\w[\w+.-]*:/*", "", url) if "://" not in url else url.partition("://")[2]
    where, _, options = rest.partition("?")
    if "@" in options:  # the password may hold a question mark
        where = rest
    written = "" if _is_file(url) else where.rpartition("@")[0]
    if _lacks_host(url):
        written = re.split("[/?]", where)[0]
    return written, written.partition(":")[2], options


def _secrets(url: str) -> set[str]:
    """All forms in which a message may quote the password; very short ones only with their URL."""
    written, password, options = _parts(url)
    values = {password, *re.findall(r"pass\w*=([^&]*)", options)}
    values |= {unquote(value) for value in values}
    values |= {quote(value, safe=safe) for value in values for safe in ("", "/")}
    if without_credentials(url).endswith("***"):  # who else reads it may take any part for the host
        values |= set(re.split(r"[@/:?&]", written))
    in_url = {text for text in (url, written if ":" in written else "", options) if text}
    return in_url | {value for value in values if len(value) > 2}


def _texts(key: str, node: Any) -> Iterator[tuple[str, str]]:
    """Dotted key -> text, of all that is in it."""
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from _texts(f"{key}.{name}", value)
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _texts(f"{key}[{number}]", value)


def _resolve(place: str, number: int | None = None) -> str:
    name = place if number is None else f"{place},{number}"
    if _is_closed or name not in _kept:
        return place
    return str(OmegaConf.create({"url": _kept[name]}).url)  # it may hold ${oc.env:...}


OmegaConf.register_resolver(RESOLVER, _resolve, replace=True)


def _watch_logs() -> None:
    """From the first secret on: the stock sweeper logs its storage, a failed job its traceback."""
    if _kept:
        return
    make = logging.getLogRecordFactory()

    def make_scrubbed(*args: Any, **keys: Any) -> logging.LogRecord:
        record = make(*args, **keys)
        record.msg, record.args = scrubbed(record.getMessage()), ()
        if record.exc_info and record.exc_info[1] is not None:
            lines = traceback.format_exception(record.exc_info[1])
            record.exc_text = scrubbed("".join(lines)).rstrip("\n")
        return record

    logging.setLogRecordFactory(make_scrubbed)
