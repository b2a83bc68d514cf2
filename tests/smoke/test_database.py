"""Records in SQLite: staged, and carried out all or none."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from peerfetch_fast.smoke import Database, RecordExists


async def test_changes_are_carried_out_by_commit(tmp_path: Path) -> None:
    async with Database(tmp_path / "file") as database:
        assert await database.count("a") == 0
        assert await database.get("a", "1") is None
        assert await database.query("a").to_list() == []
        database.insert("a", {"key": "1", "name": "alice"})
        assert await database.count("a") == 0
        await database.commit()
        assert await database.get("a", "1") == {"key": "1", "name": "alice"}
        assert await database.stores() == ["a"]
        database.update("a", {"key": "1", "name": "bob"})
        database.update("a", {"key": "absent"})
        database.insert("a", {"key": "2"})
        database.delete("a", "2")
        await database.commit()
        assert await database.query("a").to_list() == [{"key": "1", "name": "bob"}]
    async with Database(tmp_path / "file") as database:
        assert await database.exists("a", "1")
        database.delete("a", {"key": "1"})
        await database.commit()
        assert await database.count("a") == 0
        assert await database.stores() == ["a"]
        await database.drop("a")
        assert await database.stores() == []


async def test_a_commit_that_fails_changes_nothing(tmp_path: Path) -> None:
    async with Database(tmp_path / "file") as database:
        database.insert("a", {"key": "1"})
        await database.commit()
        database.insert("b", {"key": "new"})
        database.insert("a", {"key": "1"})
        with pytest.raises(RecordExists, match="the store a has a record 1 already"):
            await database.commit()
        assert await database.stores() == ["a"]
        await database.commit()
        assert await database.count("b") == 0


async def test_a_record_needs_a_key(tmp_path: Path) -> None:
    async with Database(tmp_path / "file") as database:
        for stage in (database.insert, database.update, database.delete):
            with pytest.raises(ValueError, match="needs a key"):
                stage("a", {"name": "alice"})
        assert uuid.UUID(database.key()).version == 4


async def test_a_query_goes_through_all_in_the_order_of_their_keys(tmp_path: Path) -> None:
    async with Database(tmp_path / "file") as database:
        keys = ["", *(f"{number:03}" for number in range(150))]
        for key in reversed(keys):
            database.insert("a", {"key": key})
        database.insert("b", {"key": "other"})
        await database.commit()
        found = await database.query("a").select(lambda record: record["key"]).to_list()
        assert found == keys


async def test_what_is_no_database_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("this is no database" * 100)
    with pytest.raises(OSError, match="cannot be used as a database"):
        Database(tmp_path / "file")
