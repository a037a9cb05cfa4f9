"""Write rules.yaml: prometheus/rules/ as a PrometheusRule. Run it after a change of the rules."""

from __future__ import annotations

from pathlib import Path

import yaml

HERE = Path(__file__).parent
RULES = HERE.parents[3] / "prometheus" / "rules"


def prometheus_rule(path: Path) -> str:
    """The rules of one file as a resource of the Prometheus operator."""
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": f"autoscaler-{path.stem}"},
        "spec": yaml.safe_load(path.read_text()),
    }
    return yaml.safe_dump(resource, sort_keys=False, allow_unicode=True, width=100)


def rendered() -> str:
    """All of rules.yaml."""
    head = "# Made from prometheus/rules/ by make_rules.py beside this.\n"
    return head + "---\n".join(prometheus_rule(path) for path in sorted(RULES.glob("*.yml")))


if __name__ == "__main__":
    (HERE / "rules.yaml").write_text(rendered())
