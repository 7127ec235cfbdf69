"""Tile sets: that their folders, disks and proofs are there."""

from __future__ import annotations

from collections.abc import Iterator

from catmaid_deploy import questions
from catmaid_deploy.answers.survey import Tiles
from catmaid_deploy.finding import Command, Finding, fault, missed, warning
from catmaid_deploy.plan.look import Look
from catmaid_deploy.plan.task import Task
from catmaid_deploy.schema import Deployment, TileSet
from catmaid_deploy.tasks.tiles import disks


def judge_tiles(tiles: TileSet, found: Tiles) -> Iterator[Finding]:
    """What is wrong with a tile set; a disk that isn't mounted is a warning."""
    if tiles.mount and not found["mounted"]:
        return
    if not found["folder"]:
        yield fault(
            "folder",
            f"{tiles.folder} isn't there",
            "correct the path, or have its disk mounted; to deploy without it, name its mount point under mount",
        )
    elif found["is_mount"] and not tiles.marker:
        yield fault(
            "marker",
            f"{tiles.folder} is a mount point, and there without its disk as well",
            "name a file that lies on the disk",
        )
    elif not found["proof"]:
        yield fault("marker", f"{tiles.proof} isn't there", "put a file there, or name one that is on the disk")
    if not found["fallback"]:
        yield fault("fallback", f"{tiles.fallback} isn't there", "put an image there, or use 'black'")


def question(deployment: Deployment) -> questions.Survey:
    return {
        "tiles": [
            {
                "name": tiles.name,
                "folder": tiles.folder,
                "proof": tiles.proof,
                "mount": tiles.mount,
                "fallback": None if tiles.fallback in ("black", "none") else tiles.fallback,
            }
            for tiles in deployment.tiles
        ]
    }


def faults(look: Look) -> Iterator[Finding]:
    hung = disks.hung_tiles(look.deployment, look.survey)
    for tiles in look.deployment.tiles:
        if tiles.name not in hung:
            found = judge_tiles(tiles, look.survey["tiles"][tiles.name])
            yield from (one.below(f"site.tiles[{tiles.name}]") for one in found)


def warnings(look: Look) -> Iterator[Finding]:
    for tiles in look.deployment.tiles:
        state = look.survey["tiles"][tiles.name]
        if tiles.mount and not state["mounted"]:
            yield missed(
                f"site.tiles[{tiles.name}].mount",
                f"{tiles.mount} isn't mounted, its tiles answer 503",
                Command(f"mount {tiles.mount}") if state["in_fstab"] else "have its disk mounted there",
            )
        if state["writers"]:
            who = " and ".join(state["writers"])
            what = f"{tiles.folder} can be changed by {who}, and nginx follows a link there to whatever nginx may read"
            yield warning(f"site.tiles[{tiles.name}].folder", what, "have another user own it, or mount it read-only")


def away(look: Look) -> list[str]:
    return [
        f"the tiles of {tiles.name} are away: {tiles.mount} isn't mounted"
        for tiles in look.deployment.tiles
        if tiles.mount and not look.survey["tiles"][tiles.name]["mounted"]
    ]


TASK = Task("tiles", question, faults=faults, warnings=warnings, away=away)
