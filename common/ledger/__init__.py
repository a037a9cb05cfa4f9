"""The fleet ledger in Redis: who works, on what, with what outcome. The only user of `redis`.

Keys:
    video_workers                hash, worker id -> WorkerRecord as JSON
    autoscaler:drain:<worker>    string, a drain request, expires
    autoscaler:claim:<job_id>    hash worker, token; expires
    autoscaler:settled:<step>    string, the outcome that was published for it, expires
    autoscaler:handling:<message> string, how many began with it and have not ended, expires
    autoscaler:token             the fencing token counter
    autoscaler:lease:<name>      hash holder, token: who acts; expires
    autoscaler:orders            hash, target -> the newest order that a person gave, as JSON
    autoscaler:event:<id>        string, marks an event as counted, expires
    autoscaler:queues            set of queues that have counters
    autoscaler:holder:<queue>    string, the virtual host whose fleet has this queue, expires
    autoscaler:counters:<queue>  hash of totals
    any other                    string, a text that a program keeps there (`put_text`)
"""

from __future__ import annotations

from common.ledger.coordination import Coordination
from common.ledger.job_claims import JobClaims
from common.ledger.queue_holders import QueueHolders
from common.ledger.queue_totals import QueueTotals
from common.ledger.store import LedgerError
from common.ledger.worker_identity import WorkerIdentity
from common.ledger.worker_records import WorkerReplacedError

__all__ = ["Ledger", "LedgerError", "WorkerReplacedError"]


class Ledger(JobClaims, WorkerIdentity, QueueTotals, QueueHolders, Coordination):
    """A connection to the ledger. Every method raises LedgerError when Redis fails."""
