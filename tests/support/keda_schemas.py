"""Schemas of the resources that are not Kubernetes' own: KEDA's and the Prometheus operator's.

Every field of a spec that they have in the versions that we support; a field that is not there is
a mistake. What is Kubernetes' own in them (a Job, an HPA's behaviour) is checked as such.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
ANY: Schema = {}
DURATION: Schema = {"type": "string", "pattern": r"^(\d+(ms|[smhdwy]))+$"}


def record(required: str = "", **fields: Schema) -> Schema:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


def listing(item: Schema, at_least: int = 0) -> Schema:
    return {"type": "array", "items": item, "minItems": at_least}


def choice(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
SELECTOR = record(matchLabels=TEXTS, matchExpressions=listing(ANY))
TRIGGER = record(
    "type metadata",
    type=TEXT,
    name=TEXT,
    metadata=TEXTS,
    useCachedMetrics=FLAG,
    metricType=choice("AverageValue", "Value", "Utilization"),
    authenticationRef=record(
        "name", name=TEXT, kind=choice("TriggerAuthentication", "ClusterTriggerAuthentication")
    ),
)
SCALED_OBJECT = record(
    "scaleTargetRef triggers",
    scaleTargetRef=record(
        "name", name=TEXT, apiVersion=TEXT, kind=TEXT, envSourceContainerName=TEXT
    ),
    pollingInterval=NUMBER,
    initialCooldownPeriod=NUMBER,
    cooldownPeriod=NUMBER,
    idleReplicaCount=NUMBER,
    minReplicaCount=NUMBER,
    maxReplicaCount=NUMBER,
    triggers=listing(TRIGGER, at_least=1),
    fallback=record(
        "failureThreshold replicas",
        failureThreshold=NUMBER,
        replicas=NUMBER,
        behavior=choice(
            "static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"
        ),
    ),
    advanced=record(
        restoreToOriginalReplicaCount=FLAG,
        horizontalPodAutoscalerConfig=record(name=TEXT, behavior=ANY),
        scalingModifiers=record(
            formula=TEXT,
            target=TEXT,
            activationTarget=TEXT,
            metricType=choice("AverageValue", "Value"),
        ),
    ),
)
SCALED_JOB = record(
    "jobTargetRef triggers",
    jobTargetRef=ANY,
    pollingInterval=NUMBER,
    successfulJobsHistoryLimit=NUMBER,
    failedJobsHistoryLimit=NUMBER,
    rolloutStrategy=TEXT,
    rollout=record(
        strategy=choice("default", "gradual"), propagationPolicy=choice("foreground", "background")
    ),
    envSourceContainerName=TEXT,
    minReplicaCount=NUMBER,
    maxReplicaCount=NUMBER,
    scalingStrategy=record(
        strategy=choice("default", "custom", "accurate", "eager"),
        customScalingQueueLengthDeduction=NUMBER,
        customScalingRunningJobPercentage=TEXT,
        pendingPodConditions=listing(TEXT),
        multipleScalersCalculation=choice("max", "min", "avg", "sum"),
    ),
    triggers=listing(TRIGGER, at_least=1),
)
FROM_SECRET = record("parameter name key", parameter=TEXT, name=TEXT, key=TEXT)
TRIGGER_AUTHENTICATION = record(
    secretTargetRef=listing(FROM_SECRET),
    configMapTargetRef=listing(FROM_SECRET),
    env=listing(record("parameter name", parameter=TEXT, name=TEXT, containerName=TEXT)),
    podIdentity=ANY,
    hashiCorpVault=ANY,
)
ENDPOINT = record(
    port=TEXT,
    path=TEXT,
    scheme=choice("http", "https"),
    interval=DURATION,
    scrapeTimeout=DURATION,
    honorLabels=FLAG,
    relabelings=listing(ANY),
    metricRelabelings=listing(ANY),
)
SERVICE_MONITOR = record(
    "selector endpoints",
    jobLabel=TEXT,
    selector=SELECTOR,
    namespaceSelector=ANY,
    endpoints=listing(ENDPOINT, at_least=1),
)
POD_MONITOR = record(
    "selector podMetricsEndpoints",
    jobLabel=TEXT,
    selector=SELECTOR,
    namespaceSelector=ANY,
    podMetricsEndpoints=listing(ENDPOINT, at_least=1),
)
RULE: Schema = {
    **record(
        "expr",
        record=TEXT,
        alert=TEXT,
        expr=TEXT,
        labels=TEXTS,
        annotations=TEXTS,
        keep_firing_for=DURATION,
        **{"for": DURATION},
    ),
    "oneOf": [{"required": ["record"]}, {"required": ["alert"]}],
}
PROMETHEUS_RULE = record(
    groups=listing(
        record(
            "name",
            name=TEXT,
            interval=DURATION,
            limit=NUMBER,
            query_offset=DURATION,
            rules=listing(RULE),
        )
    )
)
SPECS: dict[tuple[str, str], Schema] = {
    ("keda.sh/v1alpha1", "ScaledObject"): SCALED_OBJECT,
    ("keda.sh/v1alpha1", "ScaledJob"): SCALED_JOB,
    ("keda.sh/v1alpha1", "TriggerAuthentication"): TRIGGER_AUTHENTICATION,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): SERVICE_MONITOR,
    ("monitoring.coreos.com/v1", "PodMonitor"): POD_MONITOR,
    ("monitoring.coreos.com/v1", "PrometheusRule"): PROMETHEUS_RULE,
}
