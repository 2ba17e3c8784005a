"""The settings of the sessions service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from proto.events import LOG_MAX_AGE_S, LOG_MAX_BYTES
from services.chassis.nats.settings import NatsSettings
from services.chassis.postgres.url import check_url
from services.chassis.process.api_keys import HttpApiSettings
from services.chassis.process.secret_files import Secret
from services.chassis.process.settings import (
    Duration,
    LogSettings,
    Port,
    ProcessSettings,
    Section,
    load,
)
from services.chassis.tracing.settings import TracingSettings
from services.sections import SECTIONS
from services.sessions.webhooks.settings import WebhookSettings, check_webhooks

MAX_RESUME_WINDOW_S = 24 * 3600


class SessionsSection(Section, frozen=True):
    """The section `sessions`."""

    host: str = "127.0.0.1"
    """The address on which the service listens."""
    port: Port = 8201
    """The port of the read API, and of health and metrics."""
    name: str = ""
    """The name of this process in logs and metrics; "sessions-<port>" if empty."""
    resume_window: Duration = Duration(60)
    """For how long after a lost connection a client can continue its session. At most a day."""
    log_max_age: Duration = Duration(LOG_MAX_AGE_S)
    """For how long JetStream keeps the session log, and so for how long PostgreSQL may be unavailable."""
    log_max_bytes: Annotated[int, Meta(ge=64 * 1024**2)] = LOG_MAX_BYTES
    """What NATS sets aside for the session log. When it is full the oldest facts go, so this too limits for how long
    PostgreSQL may be unavailable."""
    keep: Duration = Duration(30 * 24 * 3600)
    """For how long PostgreSQL keeps an ended session; 0 for ever."""
    archive: bool = False
    """Whether PostgreSQL keeps a copy of the session log, so that read models can be rebuilt from before `log_max_age`:
    about 150 bytes a fact."""
    archive_keep: Duration = Duration(0)
    """For how long it keeps the copy; 0 for ever."""
    migrate: bool = True
    """Whether to migrate the database at the start. Otherwise `python -m services.sessions migrate` does it."""
    webhooks: list[WebhookSettings] = []  # noqa: RUF012 - msgspec copies mutable defaults
    """Where events of connections and channels are sent: a table `[[sessions.webhooks]]` each."""

    @property
    def facts_kept(self) -> float:
        """For how long the log, or its archive, has a fact, in seconds; 0 for ever."""
        return self.archive_keep if self.archive else self.archive_keep or self.log_max_age

    def __post_init__(self) -> None:
        if self.resume_window > MAX_RESUME_WINDOW_S:
            raise ValueError("expected sessions.resume_window of at most 24h")
        if self.log_max_age < 60:
            raise ValueError("expected sessions.log_max_age of at least 60 s")
        if 0 < self.keep < self.log_max_age:
            raise ValueError("expected sessions.keep of at least sessions.log_max_age, or 0")
        if 0 < self.archive_keep < self.log_max_age:
            raise ValueError("expected sessions.archive_keep of at least sessions.log_max_age, or 0")
        check_webhooks(self.webhooks)


class PostgresSection(Section, frozen=True):
    """The section `postgres`."""

    url: Secret
    """The database, such as postgresql://user:password@127.0.0.1:5432/fairlead. Required."""

    def __post_init__(self) -> None:
        check_url(self.url)


class OutboxSection(Section, frozen=True):
    """The section `outbox`."""

    url: Secret = ""
    """The application's database, with the table `fairlead_outbox`; like postgres.url. Empty: there is no outbox."""
    workers: Annotated[int, Meta(ge=1, le=32)] = 4
    """How many workers publish at once, each with a connection to that database. Two more connections mark rows, one
    listens."""
    poll_interval: Duration = Duration(1)
    """How often to look for rows without a notification."""

    def __post_init__(self) -> None:
        if self.url:
            check_url(self.url, "outbox.url")
        if not 0.05 <= self.poll_interval <= 60:
            raise ValueError("expected outbox.poll_interval of 50ms to 1m")


class PrivacySection(Section, frozen=True):
    """The section `privacy`."""

    nats_user: str = ""
    """The NATS user with which exports and erasures sign in, and which may read and delete messages; with
    `nats_password`. Empty: they sign in as the section `nats` says."""
    nats_password: Secret = ""
    """The password of `nats_user`."""

    def __post_init__(self) -> None:
        if bool(self.nats_user) != bool(self.nats_password):
            raise ValueError("expected privacy.nats_user and privacy.nats_password: set both, or neither")


class SessionsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """All sections that the sessions service reads."""

    postgres: PostgresSection
    nats: NatsSettings = NatsSettings()
    log: LogSettings = LogSettings()
    process: ProcessSettings = ProcessSettings()
    sessions: SessionsSection = SessionsSection()
    outbox: OutboxSection = OutboxSection()
    http_api: HttpApiSettings = HttpApiSettings()
    tracing: TracingSettings = TracingSettings()
    privacy: PrivacySection = PrivacySection()

    @property
    def name(self) -> str:
        """The name of this process."""
        return self.sessions.name or f"sessions-{self.sessions.port}"

    @property
    def privacy_nats(self) -> NatsSettings:
        """How exports and erasures reach NATS."""
        if not self.privacy.nats_user:
            return self.nats
        user, password = self.privacy.nats_user, self.privacy.nats_password
        return replace(
            self.nats, user=user, password=password, token="", nkey_file="", credentials_file="", inbox_prefix=""
        )


def from_environ(environ: Mapping[str, str]) -> SessionsSettings:
    """The settings from the file and the variables. Raises `ConfigurationError`."""
    return load(SessionsSettings, environ, SECTIONS)


def cautions(settings: SessionsSettings) -> Iterator[str]:
    """Warnings for the operator at the start: about settings that are allowed, but rarely intended."""
    if not settings.http_api.all_keys:
        yield "http_api.key is not set: every call of the read API will be answered with 401"
