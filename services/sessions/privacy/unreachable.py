"""What an erasure cannot reach: reported after each erasure."""

from __future__ import annotations

from typing import Final

UNREACHABLE: Final = (
    "publications in the memory of edges: in the user's own channels, until these are closed or 128 others follow",
    "names of these channels in the memory of edges: until 4,096 others follow, or the edge stops",
    "users and addresses in the memory of edges, as they were refused, or limits count them: for minutes",
    "what publications of others say about the user, in their payloads: remove it by history_remove",
    "messages that NATS dropped before, by age or number: their bytes are in its files until it compacts these",
    "dead rows and the write-ahead log of PostgreSQL: until VACUUM, and until its segments are used again",
    "tables that a running `verify` has made: until it ends, or for five minutes more if it is killed",
    "those of a killed `rebuild` or `verify` with another role of PostgreSQL: until that role runs one again",
    "backups and replicas of NATS and PostgreSQL: erase again after a restore",
    "log files of services, Traefik and proxies, which may have addresses and user ids",
    "what webhooks, hooks and the outbox have handed to your application",
)
