from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from peerfetch_fast.errors import ApplicationError
from peerfetch_fast.http.asgi.lifespan import SHUTDOWN_TIMEOUT, Lifespan
from support import virtually

pytestmark = pytest.mark.virtual_time


def app_that(*answers: str, then: Any = None, log: list[str] | None = None) -> Any:
    """An application that answers what comes in its lifespan so, and then raises ``then``."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        assert scope["asgi"]["version"] == "3.0"
        for answer in answers:
            asked = (await receive())["type"]
            if log is not None:
                log.append(asked)
            scope["state"]["asked"] = asked
            await send({"type": f"lifespan.{answer}", "message": "Traceback:\n  oh\nOops: no disk"})
        if then is not None:
            raise then

    return app


def test_startup_and_shutdown_come_once_each_in_order() -> None:
    log: list[str] = []

    async def main() -> None:
        lifespan = Lifespan(app_that("startup.complete", "shutdown.complete", log=log))
        await lifespan.start()
        assert lifespan.state == {"asked": "lifespan.startup"}
        assert log == ["lifespan.startup"]
        await lifespan.close()
        await lifespan.close()

    virtually(main())
    assert log == ["lifespan.startup", "lifespan.shutdown"]


@pytest.mark.parametrize("then", [None, RuntimeError("as Starlette does")])
def test_a_startup_that_fails(then: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        lifespan = Lifespan(app_that("startup.failed", then=then))
        with pytest.raises(ApplicationError) as raised:
            await lifespan.start()
        assert str(raised.value) == "the application did not start: Oops: no disk"
        await lifespan.close()

    virtually(main())
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("then", [None, AssertionError("scope type lifespan")])
def test_an_application_that_knows_no_lifespan(then: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        lifespan = Lifespan(app_that(then=then))
        await lifespan.start()
        await lifespan.close()

    with caplog.at_level(logging.WARNING):
        virtually(main())
    assert not caplog.records


@pytest.mark.parametrize(
    ("app", "said"),
    [
        (app_that("startup.complete", "shutdown.failed"), "Oops"),
        (app_that("startup.complete", then=ValueError("lost")), "lost"),
    ],
)
def test_a_shutdown_that_fails_is_logged(
    app: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        lifespan = Lifespan(app)
        await lifespan.start()
        await lifespan.close()

    virtually(main())
    assert said in caplog.text


def test_what_takes_too_long_to_shut_down_is_cancelled() -> None:
    cancelled = False

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal cancelled
        await receive()
        await send({"type": "lifespan.startup.complete"})
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            cancelled = True
            raise

    async def main() -> None:
        lifespan = Lifespan(app)
        await lifespan.start()
        began = asyncio.get_running_loop().time()
        await lifespan.close()
        assert asyncio.get_running_loop().time() - began == pytest.approx(SHUTDOWN_TIMEOUT)

    virtually(main())
    assert cancelled


async def test_a_start_that_is_cancelled_leaves_nothing_running() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1000)

    starting = asyncio.ensure_future(Lifespan(app).start())
    await asyncio.sleep(1)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting


async def test_a_message_that_is_none_of_a_lifespan() -> None:
    lifespan = Lifespan(app_that("startup.nonsense"))
    await lifespan.start()
    await lifespan.close()
