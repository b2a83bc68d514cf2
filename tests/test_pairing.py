"""Pairing by code: both ends, a signaling server, and those who should not get in."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from peerfetch_fast import connect, serve
from peerfetch_fast.codes import Digits, PairingCode, parse_code, parse_digits, waiting_name
from peerfetch_fast.devices import Device
from peerfetch_fast.errors import (
    AccessDenied,
    ConnectError,
    IdentityChanged,
    PeerfetchError,
    SignalingError,
)
from peerfetch_fast.pairing import ShownCode, invite, knock, pair
from peerfetch_fast.people import MAX_CERTIFICATES, Invitation, People, Person
from peerfetch_fast.settings import Limits, UpstreamSettings
from peerfetch_fast.signaling.seam import join
from peerfetch_fast.state import load_certificate
from peerfetch_fast.webrtc.certificate import generate_certificate
from support import until
from test_man_in_the_middle import Middle, in_between, of_type
from test_peer import World, signaling_server, world

ANNA, BEN, EVE = (generate_certificate() for _ in range(3))


@contextlib.asynccontextmanager
async def waiting(there: World, people: People, **options: Any) -> AsyncIterator[ShownCode]:
    """An invitation for Anna to the device that runs ``there``."""
    device = Device(there.server.peer_id, there.signaling)
    person = Person("anna", **options)
    certificate = there.server._certificate
    async with invite(person, people, device, certificate) as made:
        yield made


def wrong(code: PairingCode) -> PairingCode:
    return code._replace(first="acid" if code.first != "acid" else "able")


async def test_who_has_typed_the_code_needs_no_token(tmp_path: Path) -> None:
    people = People(tmp_path)
    async with world(people=people, access_token="3q2-7wAAAAECAwQFBgcICQ") as there:
        async with waiting(there, people) as made:
            device = await pair(made.code, there.signaling, ANNA)
            assert await made.over == ANNA.fingerprint
        assert device.peer_id == there.server.peer_id
        assert device.pin == there.server.fingerprint
        assert list(people.all()) == ["anna"]
        await there.server._look_for_changes(people)
        async with there.connect(pin=device.pin, certificate=ANNA) as peer:
            assert await (await peer.fetch("/hers")).text() == "/hers"
        async with there.connect(certificate=BEN) as peer:
            assert (await peer.fetch("/not-his")).status == 401
    assert there.asked == ["/hers"]


async def test_a_code_is_used_once(tmp_path: Path) -> None:
    people = People(tmp_path)
    async with world() as there, waiting(there, people) as made:
        await pair(made.code, there.signaling, ANNA)
        with pytest.raises(PeerfetchError):
            await pair(made.code, there.signaling, EVE)
        assert await made.over == ANNA.fingerprint
    assert people.all()["anna"].certificates == (ANNA.fingerprint,)


async def test_a_code_that_two_use_at_once_lets_in_one(tmp_path: Path) -> None:
    people = People(tmp_path)
    async with world() as there, waiting(there, people) as made:
        results = await asyncio.gather(
            *(pair(made.code, there.signaling, who) for who in (ANNA, BEN)), return_exceptions=True
        )
        assert sum(isinstance(one, Device) for one in results) == 1
        assert len(people.all()["anna"].certificates) == 1


async def test_three_wrong_guesses_burn_a_code(tmp_path: Path) -> None:
    """However they are spread over connections, ids and certificates."""
    people = People(tmp_path)
    async with world() as there, waiting(there, people) as made:
        for who in (EVE, BEN, generate_certificate()):
            assert not made.over.done()
            with pytest.raises(AccessDenied):
                await pair(wrong(made.code), there.signaling, who)
        assert await made.over is None
        with pytest.raises(PeerfetchError):
            await pair(made.code, there.signaling, ANNA)
    assert people.all() == {}


async def test_two_wrong_guesses_do_not(tmp_path: Path) -> None:
    people = People(tmp_path)
    async with world() as there, waiting(there, people) as made:
        for _ in range(2):
            with pytest.raises(AccessDenied):
                await pair(wrong(made.code), there.signaling, EVE)
        await pair(made.code, there.signaling, ANNA)
        assert await made.over == ANNA.fingerprint


async def test_a_code_is_worth_nothing_when_its_time_is_over(tmp_path: Path) -> None:
    async with world() as there:
        async with waiting(there, People(tmp_path)) as made:
            pass
        with pytest.raises(SignalingError):
            await pair(made.code, there.signaling, ANNA)
    assert People(tmp_path).all() == {}


async def test_digits_of_a_device_that_waits_in_the_room(tmp_path: Path) -> None:
    """They are shown once somebody has come; the same three guesses are all that there are."""
    people = People(tmp_path)
    async with world() as there:
        device = Device(there.server.peer_id, there.signaling)
        inviting = invite(
            Person("anna"), people, device, there.server._certificate, seen_as="garage pi"
        )
        async with inviting as made:
            async with contextlib.AsyncExitStack() as stack:
                asking = join(there.signaling, on_signal=lambda _: None)
                await asking.start()
                stack.push_async_callback(asking.close)
                while not (seen := [one for one in await asking.peers() if waiting_name(one)]):
                    await asyncio.sleep(0)
            assert seen == [made.code.peer_id]
            assert waiting_name(made.code.peer_id) == "garage-pi"
            assert not made.met.is_set()
            await knock(made.code.peer_id, there.signaling)
            assert made.met.is_set()
            typed = parse_digits(made.code.peer_id, f"{str(made.code)[:3]} {str(made.code)[3:]}")
            other = f"{(int(str(typed)) + 1) % 10**6:06}"
            for _ in range(2):
                with pytest.raises(AccessDenied):
                    await pair(Digits(typed.peer_id, other), there.signaling, EVE)
            found = await pair(typed, there.signaling, ANNA)
            assert found == Device(device.peer_id, there.signaling, there.server.fingerprint)
            assert await made.over == ANNA.fingerprint
    assert people.all()["anna"].certificates == (ANNA.fingerprint,)


async def test_three_wrong_digits_end_it(tmp_path: Path) -> None:
    async with world() as there:
        device = Device(there.server.peer_id, there.signaling)
        people, certificate = People(tmp_path), there.server._certificate
        async with invite(Person("anna"), people, device, certificate, seen_as="pi") as made:
            other = f"{(int(str(made.code)) + 1) % 10**6:06}"
            for who in (EVE, BEN, generate_certificate()):
                with pytest.raises(AccessDenied):
                    await pair(Digits(made.code.peer_id, other), there.signaling, who)
            assert await made.over is None
    assert people.all() == {}


async def test_a_number_that_is_taken_is_not_waited_at(tmp_path: Path) -> None:
    people, drawn = People(tmp_path), random.Random(5).randrange
    async with world() as there:
        device = Device(there.server.peer_id, there.signaling)
        options = (Person("anna"), people, device, there.server._certificate)
        async with (
            invite(*options, below=drawn) as one,
            invite(*options, below=random.Random(5).randrange) as other,
        ):
            assert one.code.peer_id != other.code.peer_id
            await pair(other.code, there.signaling, ANNA)
            assert await other.over == ANNA.fingerprint
            assert not one.over.done()


async def test_somebody_in_the_middle_gets_one_guess_and_no_more(tmp_path: Path) -> None:
    """He ends both DTLS connections and passes on what he hears: neither end proves anything to
    him, and nobody is let in.
    """
    people = People(tmp_path)
    async with world() as there, waiting(there, people) as made:
        middle = Middle(there, "auto")
        middle._device = made.code.peer_id
        async with signaling_server() as his:
            clients = join(his, made.code.peer_id, on_signal=middle.clients.take)
            devices = join(there.signaling, on_signal=middle.devices.take)
            middle.clients.signaling, middle.devices.signaling = clients, devices
            await clients.start()
            await devices.start()
            try:
                with pytest.raises((AccessDenied, ConnectError)):
                    await pair(made.code, his, ANNA)
            finally:
                await middle.close()
                await clients.close()
                await devices.close()
        assert of_type("PAKE", middle.from_client)
        assert of_type("PAKE", middle.from_device)
        assert of_type("ACCESS", middle.from_client)
        assert not of_type("ACCESS", middle.from_device)
        assert not of_type("STREAM", middle.from_client)
        assert not made.over.done()
        # The guess was counted; the code is still good for whom it was meant.
        await pair(made.code, there.signaling, ANNA)
        assert await made.over == ANNA.fingerprint


async def test_who_is_shown_out_is_gone_at_once(tmp_path: Path) -> None:
    people = People(tmp_path)
    people.add(Person("anna", (ANNA.fingerprint,)))
    async with world(people=people) as there:
        async with there.connect(certificate=ANNA, give_up_after=0) as peer:
            slow = asyncio.ensure_future(peer.fetch("/slow"))
            await until(lambda: "/slow" in there.asked)
            People(tmp_path).revoke("anna")  # another program does
            with pytest.raises(PeerfetchError):
                await slow
        assert there.server.refused["no longer invited"] == 1


class Bodies:
    """An application that sends without an end, and takes what comes."""

    def __init__(self) -> None:
        self.passed = 0
        self.ended = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        try:
            if scope["path"] == "/upload":
                while (await receive())["type"] == "http.request":
                    self.passed += 1
                return
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                body = {"type": "http.response.body", "body": bytes(4096), "more_body": True}
                await send(body)
                self.passed += 1
        finally:
            self.ended.set()


@pytest.mark.parametrize("path", ["/upload", "/download"])
async def test_who_is_shown_out_in_the_middle_of_a_body_sends_and_gets_no_more_of_it(
    tmp_path: Path, path: str
) -> None:
    people, bodies = People(tmp_path), Bodies()
    people.add(Person("anna", (ANNA.fingerprint,)))

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(4096)
            await asyncio.sleep(0)

    async with (
        signaling_server() as signaling,
        serve(bodies, signaling=signaling, people=people, people_only=True) as server,
        connect(server.peer_id, signaling=signaling, certificate=ANNA, give_up_after=0) as peer,
    ):

        async def use() -> None:
            upload = {"method": "POST", "body": endless()} if path == "/upload" else {}
            async for _ in await peer.fetch(path, **upload):
                pass

        using = asyncio.ensure_future(use())
        await until(lambda: bodies.passed > 100)
        assert not using.done()
        People(tmp_path).revoke("anna")  # another program does
        with pytest.raises(PeerfetchError):
            await asyncio.wait_for(using, 30)
        await asyncio.wait_for(bodies.ended.wait(), 30)
        assert server.refused["no longer invited"] == 1
        await until(lambda: not server.peers)


async def test_people_only(tmp_path: Path) -> None:
    people = People(tmp_path)
    people.add(Person("anna", (ANNA.fingerprint,), paths=("/hers",), read_only=True))
    async with world(people=people, people_only=True) as there:
        async with there.connect(certificate=EVE) as peer:
            assert (await peer.fetch("/hers")).status == 403
        async with there.connect(certificate=ANNA) as peer:
            assert (await peer.fetch("/hers/too")).status == 200
            assert (await peer.fetch("/hers", method="POST")).status == 403
            assert (await peer.fetch("/others")).status == 403
    assert there.asked == ["/hers/too"]
    assert set(people.visits()) == {"anna"}


async def test_the_token_stays_for_programs(tmp_path: Path) -> None:
    people, token = People(tmp_path), "3q2-7wAAAAECAwQFBgcICQ"
    people.add(Person("anna", (ANNA.fingerprint,)))
    async with world(people=people, people_only=True, access_token=token) as there:
        for certificate in (EVE, ANNA):  # who has a name and the token is shown a proof, too
            async with there.connect(certificate=certificate, access_token=token) as peer:
                assert (await peer.fetch("/")).status == 200


async def test_a_client_shows_the_same_certificate_each_time(tmp_path: Path) -> None:
    async with world() as there:
        seen = set()
        for _ in range(2):
            async with connect(there.server.peer_id, signaling=there.signaling) as peer:
                await peer.fetch("/")
                (guest,) = there.server._guests
                seen.add(guest.fingerprint)
        assert len(seen) == 1


LINK = Invitation("3f" * 16, until=4_000_000_000)


async def test_a_link_lets_in_as_often_as_it_is_used(tmp_path: Path) -> None:
    """A browser that has lost what it kept uses it anew; nobody else gets in by it."""
    people = People(tmp_path)
    people.add(Person("anna", paths=("/hers",), invitation=LINK))
    async with world(people=people, people_only=True) as there:
        for certificate in (ANNA, BEN, ANNA):
            async with there.connect(certificate=certificate, access_token=LINK.secret) as peer:
                assert (await peer.fetch("/hers")).status == 200
                assert (await peer.fetch("/others")).status == 403
            async with there.connect(certificate=certificate) as peer:  # without it, from then on
                assert (await peer.fetch("/hers")).status == 200
        async with there.connect(certificate=EVE) as peer:
            assert (await peer.fetch("/hers")).status == 403
    assert set(people.all()["anna"].certificates) == {ANNA.fingerprint, BEN.fingerprint}


@pytest.mark.parametrize("token", [None, "3q2-7wAAAAECAwQFBgcICQ"])
async def test_a_wrong_secret_lets_nobody_in(tmp_path: Path, token: str | None) -> None:
    people = People(tmp_path)
    people.add(Person("anna", invitation=LINK))
    limits = Limits(access_delay=0.01)
    async with world(people=people, people_only=True, access_token=token, limits=limits) as there:
        with pytest.raises(PeerfetchError):
            await there.connect(certificate=EVE, access_token="3e" * 16)
    assert people.all()["anna"].certificates == ()


@pytest.mark.parametrize("over", [Invitation(LINK.secret, 1), None])
async def test_a_link_that_is_over_is_worth_nothing(
    tmp_path: Path, over: Invitation | None
) -> None:
    people = People(tmp_path)
    people.add(Person("anna", (ANNA.fingerprint,), invitation=LINK))
    people.limit("anna", lambda person: replace(person, invitation=over))
    token, limits = "3q2-7wAAAAECAwQFBgcICQ", Limits(access_delay=0.01)
    async with world(people=people, people_only=True, access_token=token, limits=limits) as there:
        with pytest.raises(PeerfetchError):
            await there.connect(certificate=EVE, access_token=LINK.secret)
    assert people.all()["anna"].certificates == (ANNA.fingerprint,)


async def test_guesses_at_the_token_of_who_needs_none_are_counted(tmp_path: Path) -> None:
    """A person of the device does not learn its token by trying."""
    people, token = People(tmp_path), "3q2-7wAAAAECAwQFBgcICQ"
    people.add(Person("anna", (ANNA.fingerprint,)))
    limits = Limits(access_failures=2, access_delay=0.01)
    async with world(people=people, access_token=token, limits=limits) as there:
        for _ in range(2):
            with pytest.raises(PeerfetchError):
                await there.connect(certificate=ANNA, access_token="wrong", give_up_after=0)
        await until(lambda: there.server.refused["wrong access token"] == 2)
        with pytest.raises(PeerfetchError):
            await there.connect(certificate=ANNA, access_token=token)


@pytest.mark.parametrize("field", ["X-Peerfetch-Person", "Remote_User"])
async def test_an_upstream_is_told_who_asks_and_by_nobody_else(tmp_path: Path, field: str) -> None:
    """Nor by one who writes the field in another way, which some servers take for the same."""
    people = People(tmp_path)
    people.add(Person("anna", (ANNA.fingerprint,)))
    seen: list[list[tuple[str, str]]] = []

    async def answer(request: web.Request) -> web.Response:
        names = (field.lower().replace("_", "-"), "x-peerfetch-person")
        seen.append(
            [(n, v) for n, v in request.headers.items() if n.lower().replace("_", "-") in names]
        )
        return web.Response()

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        upstream = UpstreamSettings(person_header=field)
        async with (
            signaling_server() as signaling,
            serve(url, signaling=signaling, people=people, upstream=upstream) as server,
        ):
            for who in (ANNA, EVE):
                async with connect(server.peer_id, signaling=signaling, certificate=who) as peer:
                    claims = [
                        field,
                        field.replace("-", "_"),
                        field.replace("_", "-"),
                        field.upper(),
                    ]
                    await peer.fetch("/", headers=[(name, "boss") for name in claims])
    finally:
        await runner.cleanup()
    assert seen == [[(field.lower(), "anna")], []]


@pytest.mark.parametrize("name", ["", "a b", "a:b", "ä", "a\n", "x" * 65])
def test_what_names_no_field(name: str) -> None:
    with pytest.raises(ValueError, match="person_header"):
        UpstreamSettings(person_header=name)


async def test_a_person_lets_in_another_browser_of_hers(tmp_path: Path) -> None:
    """By a code that she asks the device for; it may what she may, and no more."""
    people = People(tmp_path)
    people.add(Person("anna", (ANNA.fingerprint,), ("/hers",), read_only=True))
    async with world(people=people, people_only=True) as there:
        async with there.connect(certificate=ANNA) as peer:
            first = await (await peer.fetch("/~peerfetch/code", method="POST")).json()
            told = await (await peer.fetch("/~peerfetch/code", method="POST")).json()
            assert (await peer.fetch("/~peerfetch/code")).status == 405
            with pytest.raises(PeerfetchError):  # the one before is worth nothing any more
                await pair(parse_code(first["code"]), there.signaling, BEN, timeout=5)
            await pair(parse_code(told["code"]), there.signaling, BEN)
        async with there.connect(certificate=BEN) as peer:
            assert (await peer.fetch("/hers")).status == 200
            assert (await peer.fetch("/others")).status == 403
    known = people.all()["anna"]
    assert known == Person("anna", (ANNA.fingerprint, BEN.fingerprint), ("/hers",), True)
    assert there.asked == ["/hers"]


async def test_who_cannot_be_remembered_is_told_at_once_and_so_is_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    people = People(tmp_path)
    many = (ANNA.fingerprint, *(bytes([number]) * 32 for number in range(1, MAX_CERTIFICATES)))
    people.add(Person("anna", many))
    escaped: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: escaped.append(context))
    async with world(people=people) as there, there.connect(certificate=ANNA) as peer:
        told = await (await peer.fetch("/~peerfetch/code", method="POST")).json()
        with pytest.raises(ConnectError, match="make a new code there"):
            await pair(parse_code(told["code"]), there.signaling, BEN)
        await until(lambda: not there.server._own_codes._open)
    assert "no code for anna: anna has 16 certificates already" in caplog.text
    gc.collect()
    assert not escaped


async def test_who_has_no_name_gets_no_code(tmp_path: Path) -> None:
    async with world(people=People(tmp_path)) as there, there.connect(certificate=EVE) as peer:
        response = await peer.fetch("/~peerfetch/code", method="POST")
        assert response.status == 405  # of the upstream, which has no such thing
        assert not there.server._own_codes._open


async def test_a_copied_state_directory_is_that_person_until_she_is_shown_out(
    tmp_path: Path,
) -> None:
    """Nothing on the wire tells a copy from her; what helps is to revoke her."""
    hers, people = tmp_path / "hers", People(tmp_path)
    mine = load_certificate(hers)
    shutil.copytree(hers, tmp_path / "stolen")
    copied = load_certificate(tmp_path / "stolen")
    people.add(Person("anna", (mine.fingerprint,)))
    async with world(people=people, people_only=True) as there:
        async with there.connect(certificate=copied, give_up_after=0) as peer:
            assert (await peer.fetch("/")).status == 200
            people.revoke("anna")
            await asyncio.wait_for(peer.session.wait_closed(), 60)
        async with there.connect(certificate=copied) as peer:
            assert (await peer.fetch("/")).status == 403


async def test_somebody_in_the_middle_of_a_link_is_shown_nothing(tmp_path: Path) -> None:
    """The link has the device's pin: he gets no proof of its secret to try others on."""
    people = People(tmp_path)
    people.add(Person("anna", invitation=LINK))
    async with world(people=people, people_only=True) as there:
        async with in_between(there, "auto") as (middle, his):
            with pytest.raises(IdentityChanged):
                await connect(
                    there.server.peer_id,
                    signaling=his,
                    pin=there.server.fingerprint,
                    access_token=LINK.secret,
                    certificate=ANNA,
                )
        assert not of_type("ACCESS", middle.from_client)
    assert people.all()["anna"].certificates == ()
