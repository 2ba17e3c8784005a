"""What an erasure cannot reach: told whenever a user was erased."""

from __future__ import annotations

from typing import Final

UNREACHABLE: Final = (
    "publications that edges hold in memory: of their own channels, until these are closed or 128 others came",
    "what publications of others say about the user, in their payloads: remove it by history_remove",
    "messages that NATS let go by their age or number before: their bytes are in its files until it compacts these",
    "dead rows and the write-ahead log of PostgreSQL: until VACUUM, and until its segments are used again",
    "tables beside of a `verify` that runs: until it ends, or for five minutes more if it is killed",
    "those of a killed `rebuild` or `verify` that had another role of PostgreSQL: until that role's next one",
    "backups and replicas of NATS and PostgreSQL: erase again after a restore",
    "log files of services, Traefik and proxies, which may have addresses and user ids",
    "what webhooks, hooks and the outbox have handed to your application",
)
