"""A standby of a native PostgreSQL, which streams what its primary writes until it is promoted."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import asyncpg

from deploy.processes import postgres
from tests.support.servers import DATABASE_USER
from tests.support.servers_native import NativePostgres


class Standby(NativePostgres):
    """`start` and `close` are those of any server."""

    def __init__(self, primary: NativePostgres) -> None:
        self._primary = primary
        super().__init__()

    def make(self, privilege: postgres.Privilege, data: Path) -> None:
        if privilege.owner is not None:
            data.parent.chmod(0o755)
            data.mkdir()
            shutil.chown(data, privilege.owner)
        program = [*privilege.prefix, str(postgres.programs() / "pg_basebackup")]
        where = ["-h", "127.0.0.1", "-p", str(self._primary.port), "-U", DATABASE_USER, "-D", str(data)]
        how = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
        subprocess.run([*program, *where, *how], check=True, capture_output=True, timeout=60)

    async def fall_behind(self) -> None:
        """Receives nothing more from its primary, as if their connection was cut. Returns once that is so."""
        await self._execute("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")

    async def promote(self) -> None:
        """Returns once it takes writes."""
        await self._execute("SELECT pg_promote()")

    async def receives(self) -> bool:
        """Whether it follows its primary."""
        return bool(await self._execute("SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')"))

    async def sessions(self) -> int:
        """How many it has."""
        return int(str(await self._execute("SELECT count(*) FROM sessions")))

    async def _execute(self, *statements: str) -> object:
        connection = await asyncpg.connect(f"postgresql://{DATABASE_USER}@127.0.0.1:{self.port}/postgres", timeout=5)
        try:
            return [await connection.fetchval(statement) for statement in statements][-1]
        finally:
            await connection.close()
