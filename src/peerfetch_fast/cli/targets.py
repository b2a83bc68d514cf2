"""What ``peerfetch proxy`` serves, as it is written on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from peerfetch_fast.cli.options import at_path
from peerfetch_fast.server import Target

__all__ = ["by_name", "by_path", "is_directory", "told_targets"]


def by_path(
    upstreams: Sequence[str],
    directories: Sequence[str],
    cameras: Sequence[tuple[str, Target]],
) -> dict[str, Target]:
    """The targets by path."""
    targets: dict[str, Target] = {}
    named: list[tuple[str, Target]] = [at_path(value) for value in upstreams]
    named += [(path, Path(name)) for path, name in map(at_path, directories)]
    named += cameras
    if cameras and all(path != "/" for path, _ in named):
        from peerfetch_fast.media.wall import CameraWall

        # Whoever opens the device sees them all.
        named.append(("/", CameraWall({path: None for path, _ in cameras})))
    for path, target in named:
        if path in targets:
            raise click.UsageError(
                f"two targets are to be served at {path}: put different paths before them, "
                "as in --target /cam=http://127.0.0.1:8081"
            )
        targets[path] = target
    return targets


def is_directory(target: Target) -> bool:
    return isinstance(target, Path) and target.is_dir()


def by_name(ports: Sequence[str]) -> dict[str, str]:
    """The TCP ports by name."""
    tcp: dict[str, str] = {}
    for value in ports:
        name, equals, address = value.partition("=")
        if not equals:
            raise click.UsageError(f"{value!r} names no port: write --tcp ssh=127.0.0.1:22")
        if name in tcp:
            raise click.UsageError(f"two ports are to be served as {name}: give one another name")
        tcp[name] = address
    return tcp


def told_targets(targets: dict[str, Target], tcp: dict[str, str]) -> str:
    told = "".join(
        f"target       {target}\n" if path == "/" else f"target       {path} = {target}\n"
        for path, target in targets.items()
    )
    return told + "".join(f"port         {name} = {address}\n" for name, address in tcp.items())
