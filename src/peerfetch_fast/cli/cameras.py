"""The options by which ``peerfetch proxy`` shows cameras."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from peerfetch_fast.cli.addresses import ListenAddress, port_in_words
from peerfetch_fast.cli.exit_codes import Failure
from peerfetch_fast.cli.options import F, at_path
from peerfetch_fast.errors import PeerfetchError

if TYPE_CHECKING:
    from peerfetch_fast.media.camera import Camera
    from peerfetch_fast.server import Target

__all__ = ["camera_options", "open_door"]


def camera_options(command: F) -> F:
    """``--camera``, ``--microphone`` and ``--speaker``, as the parameter ``cameras``: cameras, each
    with its path.
    """

    @click.option(
        "--camera",
        "sources",
        multiple=True,
        metavar="[/PATH=]SOURCE",
        help="Show a camera: rtsp://… of a network camera, v4l2:/dev/video0, rpicam: (a Raspberry "
        "Pi's), exec:COMMAND of a program that writes H.264, a file, or test:. May be given "
        "several times.",
    )
    @click.option(
        "--microphone",
        "microphones",
        multiple=True,
        metavar="[/PATH=]alsa:DEVICE",
        help="Let the camera at that path have the sound of a microphone, as in alsa:default.",
    )
    @click.option(
        "--speaker",
        "speakers",
        multiple=True,
        metavar="[/PATH=]alsa:DEVICE",
        help="Let viewers of the camera at that path talk there: alsa:default, or exec:COMMAND of "
        "a program that reads samples.",
    )
    @click.option(
        "--whep",
        type=ListenAddress(),
        help="Serve the cameras by plain HTTP at this address too, for programs that know WHEP and "
        "WHIP: 127.0.0.1:8889. Whoever reaches it sees them.",
    )
    @functools.wraps(command)
    def with_cameras(
        *arguments: Any,
        sources: tuple[str, ...],
        microphones: tuple[str, ...],
        speakers: tuple[str, ...],
        **options: Any,
    ) -> Any:
        return command(*arguments, cameras=_cameras(sources, microphones, speakers), **options)

    return with_cameras  # type: ignore[return-value]


async def open_door(
    stack: contextlib.AsyncExitStack, targets: Mapping[str, Target], listen: tuple[str, int]
) -> None:
    """Serve the cameras among ``targets`` at an address until the stack closes.

    Raises click.ClickException.
    """
    from peerfetch_fast.media.camera import Camera
    from peerfetch_fast.media.door import Door

    cameras = {path: target for path, target in targets.items() if isinstance(target, Camera)}
    if not cameras:
        raise click.UsageError("--whep is for cameras: give one with --camera")
    door = await stack.enter_async_context(Door(cameras))
    with port_in_words(listen[1], "--whep"):
        port = await door.start(*listen)
    host = f"[{listen[0]}]" if ":" in listen[0] else listen[0]
    for path in cameras:
        click.echo(f"whep         http://{host}:{port}{path.rstrip('/')}/whep")


def _cameras(
    sources: tuple[str, ...], microphones: tuple[str, ...], speakers: tuple[str, ...]
) -> list[tuple[str, Camera]]:
    """The cameras and their paths. Raises click.ClickException."""
    if not sources and not microphones and not speakers:
        return []
    # Imported late: PyAV is asked for only where there are cameras.
    from peerfetch_fast.media.camera import Camera

    sounds, voices = dict(map(at_path, microphones)), dict(map(at_path, speakers))
    try:
        found = [
            (
                path,
                Camera(source, microphone=sounds.pop(path, None), speaker=voices.pop(path, None)),
            )
            for path, source in map(at_path, sources)
        ]
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except PeerfetchError as error:
        raise Failure(error) from None
    for path in (*sounds, *voices):
        raise click.UsageError(f"there is no camera at {path}: give it one")
    return found
