"""What is done to a cluster of connectors and to what is around it; each harm has its end."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster import SIZE, Cluster
from tests.deployment import Deploy
from tests.injection.addresses import nats_url
from tests.injection.faults import (
    BOTH_WAYS,
    ONE_WAY,
    Freeze,
    Heal,
    Hold,
    Kill,
    LinkFault,
    Refuse,
    Start,
    Swallow,
    Thaw,
)
from tests.injection.processes import ServerTarget
from tests.injection.thread import ThreadedProxy, threaded
from tests.servers import StartMongod, StartNatsServer, reload

from mnc.embedded.servers import MongodProcess, NatsServerProcess

__all__ = ["COLLECTIONS", "HARMS", "Harm", "Scene", "set_scene"]

COLLECTIONS = ("users", "movies", "orders", "films")

_PASSWORD: Final = "mnc"  # noqa: S105 - of a server that lives for one test

_MOST_CHANGES: Final = 12
"""While a broker comes back, what two instances have may go to the others, and come back."""

# The tests are the operator, who may do anything.
_LOGINS = """
accounts: {{
  A: {{
    jetstream: enabled
    users: [
      {{user: operator, password: operator}}
      {instances}
    ]
  }}
}}
no_auth_user: operator
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A cluster whose instances have a link and a login of their own, and servers of its own."""

    cluster: Cluster
    links: Sequence[ThreadedProxy]
    """The way of each instance to the broker."""
    broker: ServerTarget[NatsServerProcess]
    mongod: ServerTarget[MongodProcess]

    def run_for(self, seconds: float) -> None:
        """Let the cluster run for a while; an instance that nothing is done to must not end."""
        next(iter(self.cluster.instances.values())).run_for(seconds)

    def deny(self, number: int, *ways: str) -> None:
        """Deny the instances' subjects to one instance: to `publish`, to `subscribe`, or both."""
        reload(self.broker.server, _logins({number: ways}))

    def permit(self) -> None:
        """Deny nothing to anybody."""
        reload(self.broker.server, _logins({}))


def _logins(denied: dict[int, tuple[str, ...]]) -> str:
    """Return the broker's configuration, in which some instances may not do something."""

    def instance(number: int) -> str:
        permissions = ", ".join(
            f'{way}: {{deny: ["mnc.cluster.>"]}}' for way in denied.get(number, ())
        )
        return f"{{user: mnc-{number}, password: {_PASSWORD}, permissions: {{{permissions}}}}}"

    return _LOGINS.format(instances="\n      ".join(map(instance, range(SIZE))))


@contextmanager
def set_scene(
    deploy: Deploy, folder: Path, *, start_mongod: StartMongod, start_nats: StartNatsServer
) -> Iterator[Scene]:
    """Start the servers and a cluster, and wait until it works."""
    mongod = start_mongod()
    broker = start_nats(extra_config=_logins({}))
    with ExitStack() as stack:
        links = [stack.enter_context(threaded(broker.port, seed=n)) for n in range(SIZE)]
        deployment = deploy(mongod=mongod, nats_server=broker, collections=COLLECTIONS)
        cluster = Cluster(
            deployment,
            folder=folder,
            own={
                number: {
                    "NATS_SERVER_URL": nats_url(link.port),
                    "NATS_USER": f"mnc-{number}",
                    "NATS_PASSWORD": _PASSWORD,
                    "NATS_ACK_TIMEOUT_S": "1",
                }
                for number, link in enumerate(links)
            },
        )
        cluster.wait_working()
        yield Scene(
            cluster=cluster,
            links=links,
            broker=ServerTarget(
                broker,
                start=lambda server: start_nats(
                    server.data_dir, port=server.port, extra_config=_logins({})
                ),
            ),
            mongod=ServerTarget(
                mongod, start=lambda server: start_mongod(server.data_dir, port=server.port)
            ),
        )
        deployment.kill()  # before the links end, which they would report


Harm = Callable[[Scene, random.Random], None]

# --- instances --------------------------------------------------------------------------------


def kill_one(scene: Scene, rng: random.Random) -> None:
    """Kill any instance, the leader or not, and start it again later."""
    number = rng.randrange(SIZE)
    scene.cluster.kill(number)
    scene.run_for(rng.uniform(0.0, 2.0))
    scene.cluster.start(number)


def freeze_one(scene: Scene, rng: random.Random) -> None:
    """Freeze an instance for less or more than it takes to be missed."""
    number = rng.randrange(SIZE)
    scene.cluster.instances[number].pause()
    scene.run_for(rng.uniform(0.1, 3.0))
    scene.cluster.instances[number].resume()


def stop_one(scene: Scene, rng: random.Random) -> None:
    """Let an instance end as it does in a rolling restart."""
    number = rng.randrange(SIZE)
    scene.cluster.stop(number)
    scene.run_for(rng.uniform(0.0, 1.0))
    scene.cluster.start(number)


def wipe_one(scene: Scene, rng: random.Random) -> None:
    """Kill an instance and let it come back with an empty disk."""
    number = rng.randrange(SIZE)
    scene.cluster.kill(number)
    scene.cluster.wipe(number)
    scene.run_for(rng.uniform(0.0, 1.0))
    scene.cluster.start(number)
    scene.cluster.wait_whole()  # or the next harm might take the majority


def kill_all(scene: Scene, rng: random.Random) -> None:
    """Kill all three at once, and start them one after the other."""
    for number in range(SIZE):
        scene.cluster.kill(number)
    for number in rng.sample(range(SIZE), SIZE):
        scene.cluster.start(number).run_for(rng.uniform(0.0, 0.5))


# --- the network ------------------------------------------------------------------------------


def cut_one_off(scene: Scene, rng: random.Random) -> None:
    """End an instance's connection to the broker, and refuse it another."""
    _break_link(scene, rng, Refuse(cut=True))


def black_hole_one(scene: Scene, rng: random.Random) -> None:
    """Let nothing pass between an instance and the broker, one way or both; neither is told."""
    directions = rng.choice((BOTH_WAYS, *ONE_WAY))
    lossy = rng.random() < 0.5
    _break_link(
        scene, rng, Swallow(directions=directions) if lossy else Hold(directions=directions)
    )


def _break_link(scene: Scene, rng: random.Random, fault: LinkFault) -> None:
    link = rng.choice(scene.links)
    link.inject(fault)
    scene.run_for(rng.uniform(0.1, 5.0))
    link.inject(Heal())


# --- rights: members can't talk while JetStream works -----------------------------------------


def mute_one(scene: Scene, rng: random.Random) -> None:
    """Let an instance say nothing to the others."""
    _deny_one(scene, rng, "publish")


def deafen_one(scene: Scene, rng: random.Random) -> None:
    """Let an instance hear nothing of the others."""
    _deny_one(scene, rng, "subscribe")


def isolate_one(scene: Scene, rng: random.Random) -> None:
    """Let an instance neither say nor hear anything."""
    _deny_one(scene, rng, "publish", "subscribe")


def _deny_one(scene: Scene, rng: random.Random, *ways: str) -> None:
    scene.deny(rng.randrange(SIZE), *ways)
    scene.run_for(rng.uniform(0.5, 3.0))
    scene.permit()


# --- servers ----------------------------------------------------------------------------------


def restart_broker(scene: Scene, rng: random.Random) -> None:
    """Kill the broker, and start it again; who comes back last may have to be waited for."""
    changes = scene.cluster.assignments()
    scene.broker.inject(Kill())
    scene.run_for(rng.uniform(0.0, 2.0))
    scene.broker.inject(Start())
    scene.cluster.wait_working()
    assert scene.cluster.assignments() - changes <= _MOST_CHANGES


def freeze_broker(scene: Scene, rng: random.Random) -> None:
    """Freeze the broker for less or more than it takes to be noticed."""
    scene.broker.inject(Freeze())
    scene.run_for(rng.uniform(0.1, 5.0))
    scene.broker.inject(Thaw())


def elect_without_mongod(scene: Scene, rng: random.Random) -> None:
    """Kill the leader while mongod stands still or is away, and see another one elected."""
    begin, end = rng.choice(((Freeze(), Thaw()), (Kill(), Start())))
    scene.mongod.inject(begin)
    number = scene.cluster.leader()
    scene.cluster.kill(number)
    scene.run_for(rng.uniform(0.0, 2.0))
    scene.cluster.leader()
    scene.cluster.start(number)
    scene.mongod.inject(end)


HARMS: Final[Sequence[Harm]] = (
    kill_one,
    freeze_one,
    stop_one,
    wipe_one,
    kill_all,
    cut_one_off,
    black_hole_one,
    mute_one,
    deafen_one,
    isolate_one,
    restart_broker,
    freeze_broker,
    elect_without_mongod,
)
