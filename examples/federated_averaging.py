"""Federated averaging: processes that train on data of their own exchange what they have learnt.

Each fits a line to its points, shares the two numbers with the others, and goes on from the mean.
No point leaves its process. Run one for each name, with the same names and directory:

    python federated_averaging.py anna anna,ben,cleo links/ --signaling ws://127.0.0.1:9000

The links are passed on by files in ``links/``; people would send them to each other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from pathlib import Path

import peerfetch_fast as peerfetch

ROUNDS = 3
STEPS = 200
RATE = 0.1


def points(name: str) -> list[tuple[float, float]]:
    """What only this process knows: points near y = 3 x + 1, each process in another stretch."""
    rng = random.Random(name)
    middle = rng.uniform(-0.5, 0.5)
    xs = [middle + rng.uniform(-0.5, 0.5) for _ in range(50)]
    return [(x, 3 * x + 1 + rng.gauss(0, 0.01)) for x in xs]


def train(model: list[float], data: list[tuple[float, float]]) -> list[float]:
    """Some steps down the gradient."""
    slope, shift = model
    for _ in range(STEPS):
        errors = [slope * x + shift - y for x, y in data]
        slope -= RATE * sum(e * x for e, (x, _) in zip(errors, data, strict=True)) / len(data)
        shift -= RATE * sum(errors) / len(data)
    return [slope, shift]


async def exchange(
    model: list[float], number: int, arguments: argparse.Namespace
) -> list[list[float]]:
    """The models of all after a round, the own one first."""
    own, everybody = arguments.name, arguments.names.split(",")
    others = [name for name in everybody if name != own]
    place = arguments.directory / own
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"{own}-{number}.json"
    file.write_text(json.dumps(model))
    have_all = asyncio.Event()

    def look(_: object) -> None:
        if sum(one.state == "done" for one in sharing.receivers) == len(others):
            have_all.set()

    async with peerfetch.share(
        [file], signaling=arguments.signaling, code=False, on_receiver=look
    ) as sharing:
        ready = arguments.directory / f"{own}-{number}.link.new"
        ready.write_text(sharing.link)
        ready.rename(ready.with_suffix(""))
        for name in others:
            link = arguments.directory / f"{name}-{number}.link"
            while not link.exists():
                await asyncio.sleep(0.05)
            await peerfetch.receive(link.read_text(), place, name=own)
        await have_all.wait()
    found = [json.loads((place / f"{name}-{number}.json").read_text()) for name in others]
    return [model, *found]


async def main() -> None:
    """Train, exchange and average, some rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("names")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--signaling", required=True)
    arguments = parser.parse_args()
    data = points(arguments.name)
    model = [0.0, 0.0]
    for number in range(ROUNDS):
        models = await exchange(train(model, data), number, arguments)
        model = [sum(values) / len(values) for values in zip(*models, strict=True)]
    print(json.dumps([round(value, 9) for value in model]))


if __name__ == "__main__":
    asyncio.run(main())
