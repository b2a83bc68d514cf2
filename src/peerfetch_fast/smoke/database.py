"""Records in SQLite, with the staging and the commit of Smoke's databases."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import orjson

from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.smoke.queryable import Queryable

__all__ = ["Database", "Record", "RecordExists"]

Record = dict[str, Any]
"""A JSON object whose ``key`` is a string."""

BATCH = 64
"""Records that are read of a store at once."""

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS stores (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    store TEXT NOT NULL, key TEXT NOT NULL, record BLOB NOT NULL, PRIMARY KEY (store, key)
) WITHOUT ROWID;
"""


class RecordExists(PeerfetchError):
    """A record was inserted whose key is there already: nothing of that commit was carried out."""


class Database:
    """A file of stores, each of records by key. Close it after use, or use ``async with``.

    Changes are staged, and carried out all or none by :meth:`commit`. SQLite runs in a thread.

    :param path: the file, which need not exist. Raises OSError if it cannot be used.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._thread = ThreadPoolExecutor(1, "peerfetch-database")
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise OSError(f"{path} cannot be used as a database: {error}") from None
        self._staged: list[tuple[int, str, str, bytes]] = []

    # -- writing -----------------------------------------------------------------------------------

    @staticmethod
    def key() -> str:
        """A new key: a random UUID."""
        return str(uuid.uuid4())

    def insert(self, store: str, record: Record) -> None:
        """Have ``record`` inserted by the next commit. Raises ValueError without a key."""
        self._stage(0, store, record, orjson.dumps(record))

    def update(self, store: str, record: Record) -> None:
        """Have the record of the same key replaced, if there is one. Raises ValueError without a
        key.
        """
        self._stage(1, store, record, orjson.dumps(record))

    def delete(self, store: str, record: Record | str) -> None:
        """Have a record deleted, by itself or by its key. Raises ValueError without a key."""
        self._stage(2, store, {"key": record} if isinstance(record, str) else record, b"")

    def _stage(self, order: int, store: str, record: Record, data: bytes) -> None:
        key = record.get("key")
        if not isinstance(key, str):
            raise ValueError("a record needs a key: give it one, such as Database.key()")
        self._staged.append((order, store, key, data))

    async def commit(self) -> None:
        """Carry out what is staged, all or nothing: insertions, then updates, then deletions.

        Raises RecordExists; then nothing is staged any more.
        """
        staged, self._staged = sorted(self._staged, key=lambda one: one[0]), []
        if staged:
            await self._run(lambda: self._carry_out(staged))

    def _carry_out(self, staged: list[tuple[int, str, str, bytes]]) -> None:
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        try:
            for order, store, key, data in staged:
                run("INSERT OR IGNORE INTO stores VALUES (?)", (store,))
                if order == 0:
                    run("INSERT INTO records VALUES (?, ?, ?)", (store, key, data))
                elif order == 1:
                    where = "WHERE store = ? AND key = ?"
                    run(f"UPDATE records SET record = ? {where}", (data, store, key))  # noqa: S608
                else:
                    run("DELETE FROM records WHERE store = ? AND key = ?", (store, key))
        except sqlite3.IntegrityError:
            run("ROLLBACK")
            raise RecordExists(f"the store {store} has a record {key} already") from None
        except BaseException:
            run("ROLLBACK")
            raise
        run("COMMIT")

    async def drop(self, store: str) -> None:
        """Delete a store with all its records."""

        def drop() -> None:
            with self._connection:
                self._connection.execute("DELETE FROM records WHERE store = ?", (store,))
                self._connection.execute("DELETE FROM stores WHERE name = ?", (store,))

        await self._run(drop)

    # -- reading -----------------------------------------------------------------------------------

    async def stores(self) -> list[str]:
        """The names of the stores, in alphabetical order."""
        return [name for (name,) in await self._rows("SELECT name FROM stores ORDER BY name")]

    async def get(self, store: str, key: str) -> Record | None:
        """The record of a key, None if there is none."""
        sql = "SELECT record FROM records WHERE store = ? AND key = ?"
        found = await self._rows(sql, store, key)
        return orjson.loads(found[0][0]) if found else None

    async def exists(self, store: str, key: str) -> bool:
        """Whether there is a record of that key."""
        return await self.get(store, key) is not None

    async def count(self, store: str) -> int:
        """How many records there are in a store."""
        sql = "SELECT COUNT(*) FROM records WHERE store = ?"
        return int((await self._rows(sql, store))[0][0])

    def query(self, store: str) -> Queryable[Record]:
        """The records of a store in the order of their keys, read as they are asked for."""
        return Queryable(self._records(store))

    async def _records(self, store: str) -> AsyncIterator[Record]:
        sql = "SELECT key, record FROM records WHERE store = ? AND key > ? ORDER BY key LIMIT ?"
        last, batch = "", await self._rows(sql.replace("key > ?", "key >= ?"), store, "", BATCH)
        while True:
            for key, data in batch:
                last = key
                yield orjson.loads(data)
            if len(batch) < BATCH:
                return
            batch = await self._rows(sql, store, last, BATCH)

    async def _rows(self, sql: str, *values: object) -> list[Any]:
        return await self._run(lambda: self._connection.execute(sql, values).fetchall())

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """Close the file. Idempotent; what is staged is lost."""
        try:
            await self._run(self._connection.close)
        except RuntimeError:
            return  # it was closed before
        self._thread.shutdown()

    async def __aenter__(self) -> Database:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
