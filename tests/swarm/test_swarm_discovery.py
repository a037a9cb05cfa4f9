"""Services of a real Swarm that opt in by their labels."""

from __future__ import annotations

import pytest

from scaler.loop.discovery import Discovery
from scaler.orchestrators.errors import OrchestratorError
from scaler.orchestrators.swarm.orchestrator import Swarm
from scaler.policy.target import Target
from tests.support.waiting import until
from tests.swarm.crew import WORK, Crew
from tests.swarm.images import BASE

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

STACK = """
version: "3.8"
services:
  few:
    image: {image}
    command: ["sh", "-c", "{work}"]
    stop_grace_period: 20s
    deploy:
      replicas: 1
      labels: {{autoscaler.enable: "true"}}
      restart_policy: {{condition: on-failure}}
"""


def test_the_same_app_in_two_stacks_is_two_targets_and_both_are_scaled(crew: Crew) -> None:
    file = crew.manager.scratch / "twice.yml"
    file.write_text(STACK.format(image=BASE, work=WORK.format(slow=0)))
    for stack in ("left", "right"):
        crew.manager.cli("stack", "deploy", "--resolve-image", "never", "-c", str(file), stack)
        crew.own(f"{stack}_few")
    swarm = Swarm(crew.direct)
    until(lambda: crew.running("left_few") and crew.running("right_few"), "the first workers")
    swarm.refresh([])
    discovery = Discovery({"swarm": swarm}, defaults={"min_workers": 0}, configured=())
    targets = discovery()
    assert [one.name for one in targets] == ["left_few", "right_few"]
    swarm.refresh(targets)
    for one in targets:
        assert swarm.fleet(one, []).scale_up(2) == f"{one.name}: replicas 1 -> 2"
    by_id = Target(name="again", service=crew.view("left_few").id)
    swarm.refresh([*targets, by_id])
    with pytest.raises(
        OrchestratorError, match="left_few is claimed by the targets again and left_few"
    ):
        swarm.fleet(by_id, [])
    assert swarm.fleet(targets[1], []).facts.replicas == 2
