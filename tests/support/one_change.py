"""A scaler for one change: leads, looks, raises to 3, and says how that ended.

`python -m tests.support.one_change REDIS ENGINE SERVICE`
"""

from __future__ import annotations

import sys

from common.ledger import Ledger
from scaler.loop.lease import Leader
from scaler.orchestrators.errors import OrchestratorError
from scaler.orchestrators.swarm.engine import DirectEngine
from scaler.orchestrators.swarm.orchestrator import Swarm
from scaler.policy.target import Target

if __name__ == "__main__":
    redis, host, service = sys.argv[1:]
    leader = Leader(Ledger.connect(redis))
    swarm = Swarm(DirectEngine(host, min_grace_s=1, timeout_s=60))
    swarm.fence = leader.require
    target = Target(name=service, service=service)
    while not leader.leads():
        pass
    swarm.refresh([target])
    try:
        said = swarm.fleet(target, []).scale_up(3)
    except OrchestratorError as error:
        said = str(error)
    sys.stdout.write(said)
