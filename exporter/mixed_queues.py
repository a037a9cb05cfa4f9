"""Queues of one name in several virtual hosts: their fleets would be taken for one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from common.records import QueueCounters
from exporter.members import Member
from exporter.selection import QueueName


def mixed(
    read: Iterable[QueueName], fleet: Iterable[Member], counters: Iterable[QueueCounters]
) -> Mapping[str, list[str]]:
    """The virtual hosts of each queue that is not in one alone, by name.

    `read` are the queues whose depth is read. The ledger goes by names, so what it has of a fleet
    in one virtual host must not be told of a queue in another. Where no worker has said in which it
    works, nothing is known to be mixed.
    """
    worked: dict[str, set[str]] = {}
    for queue, vhost in (
        *((member.record.queue, member.record.vhost) for member in fleet),
        *((total.queue, total.vhost) for total in counters),
    ):
        if vhost:
            worked.setdefault(queue, set()).add(vhost)
    for name in read:
        if name.name in worked:
            worked[name.name].add(name.vhost)
    return {queue: sorted(vhosts) for queue, vhosts in worked.items() if len(vhosts) > 1}
