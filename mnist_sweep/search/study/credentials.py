"""Keeps the password of a storage out of all that is shown or written."""

from urllib.parse import quote

from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError


def without_credentials(url: str) -> str:
    """The URL with user, password and all options left out: for all that is shown or written."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return f"{url.partition('://')[0]}://***"
    if parsed.username is None and parsed.password is None and not parsed.query:
        return url
    where = URL.create(
        parsed.drivername, host=parsed.host, port=parsed.port, database=parsed.database
    )
    return where.render_as_string()


def without_secrets(text: str, url: str) -> str:
    """A message about this storage, with `***` wherever it quotes the password."""
    for secret in _secrets(url):
        text = text.replace(secret, "***")
    return text


def hide_credentials(config: DictConfig) -> None:
    """Takes them out of a config that is to be written, `hydra` node included."""
    key = "hydra.sweeper.storage"
    url = OmegaConf.select(config, key)
    if url is None:
        return
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.sweeper.storage = without_credentials(str(url))
        config.hydra.overrides.hydra = [
            f"{key}={without_credentials(str(url))}" if override.startswith(key) else override
            for override in config.hydra.overrides.hydra
        ]


def _secrets(url: str) -> list[str]:
    """All forms in which a message may quote the password."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return [url]
    asked = [str(value) for key, value in parsed.query.items() if "pass" in key]
    values = [str(parsed.password or ""), *asked]
    quoted = [quote(value, safe=safe) for value in values for safe in ("", "/")]
    written = url.partition("://")[2].rpartition("@")[0]
    return [text for text in (url, written, *values, *quoted) if text]
