"""The fleet ledger in Redis: who works, on what, with what outcome. The only user of `redis`.

Keys, and what ends each:
    video_workers                hash, worker id -> WorkerRecord as JSON; removed by the worker that
                                 leaves, by `prune` once its worker has been silent for an hour
    autoscaler:drain:<worker>    string, a drain request; expires
    autoscaler:claim:<job_id>    hash worker, token; expires
    autoscaler:settled:<step>    string, the outcome published for a step of an order, or for the
                                 order; expires
    autoscaler:handling:<message> hash, instance -> id of the workers that began with it and have
                                 not ended, after a "!" where it broke what they did; expires
    autoscaler:token             the fencing token counter; one
    autoscaler:lease:<name>      hash holder, token: who acts; expires
    autoscaler:orders            hash, target -> the newest order that a person gave, as JSON; one
                                 of a target that is gone is removed by `prune_orders`
    autoscaler:event:<id>        string, marks an event as counted; expires
    autoscaler:holder:<queue>    string, the virtual host whose fleet has the queue's name; expires
    autoscaler:counters:<queue>  hash of totals, and their vhost; expires once nothing is counted
    autoscaler:queues            set of queues that have counters; `prune_queues` removes the others
    any other                    string, a text that a program keeps there (`put_text`), for as long
                                 as that says
"""

from __future__ import annotations

from common.ledger.coordination import Coordination
from common.ledger.fleet_reading import FleetReading
from common.ledger.job_claims import JobClaims
from common.ledger.queue_holders import QueueHolders
from common.ledger.queue_totals import QueueTotals
from common.ledger.settings import LedgerSettings
from common.ledger.store import LedgerError
from common.ledger.worker_identity import WorkerIdentity
from common.ledger.worker_records import WorkerReplacedError

__all__ = ["Ledger", "LedgerError", "LedgerSettings", "WorkerReplacedError"]


class Ledger(JobClaims, WorkerIdentity, FleetReading, QueueTotals, QueueHolders, Coordination):
    """A connection to the ledger. Every method raises LedgerError when Redis fails."""
