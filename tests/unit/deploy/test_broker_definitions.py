"""The broker's users that are shipped have the permissions that are documented."""

from __future__ import annotations

import json

from tests.support.broker_users import ROOT, documented, shipped
from worker.jobs import JOB_QUEUE, RESULT_QUEUE

DEFINITIONS = json.loads((ROOT / "deploy/rabbitmq/definitions.json").read_text())


def test_shipped_users_may_what_is_documented() -> None:
    owner = {"configure": ".*", "write": ".*", "read": ".*"}
    assert shipped() == {
        "rabbitreels": owner,
        **{user: documented()[user] for user in ("worker", "exporter", "operator")},
    }
    assert {user["name"]: user["tags"] for user in DEFINITIONS["users"]} == {
        "rabbitreels": "administrator",
        "worker": "",
        "exporter": "management",
        "operator": "",
    }


def test_the_owners_queues_are_as_producers_and_publisher_declare_them() -> None:
    assert [queue["name"] for queue in DEFINITIONS["queues"]] == [JOB_QUEUE, RESULT_QUEUE]
    assert all(queue["durable"] and not queue["arguments"] for queue in DEFINITIONS["queues"])
