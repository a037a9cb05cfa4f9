"""A real Prometheus whose past is written into its store."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from demo.ports import free_ports
from demo.processes import Part
from demo.stack import answers
from scaler.prometheus.client import Prometheus


@contextmanager
def recorded_past(folder: Path, blocks: Mapping[str, Iterable[str]]) -> Iterator[Prometheus]:
    """With what the lines in OpenMetrics say, by a name for each block."""
    data = folder / "data"
    for name, lines in blocks.items():
        path = folder / f"{name}.om"
        path.write_text("\n".join([*lines, "# EOF\n"]))
        tool = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "-q", str(path), str(data)]
        subprocess.run(tool, check=True, capture_output=True)
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    (folder / "prometheus.yml").write_text("{}\n")
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    part = Part(
        "prometheus", command, os.environ, folder / "log", lambda: answers(f"{url}/-/ready")
    )
    part.start()
    client = Prometheus(url, timeout_s=60.0)
    try:
        part.wait_ready()
        yield client
    finally:
        client.close()
        part.stop()


def series_of(queue: str) -> Mapping[str, str]:
    """By signal the series that the exporter or a rule has of a queue."""
    where = f'queue="{queue}"'
    return {
        "waiting": f'rabbitmq_queue_messages_ready{{job="exporter",vhost="/",{where}}}',
        "in_flight": f"autoscaler_jobs_in_flight{{{where}}}",
        "idle": f'autoscaler_workers{{state="idle",{where}}}',
        "arrival_rate": f"queue:job_arrivals:rate5m{{{where}}}",
        "recent_rate": f"queue:job_arrivals:rate1m{{{where}}}",
        "burstiness": f"queue:job_arrivals:dispersion10m{{{where}}}",
        "mean_duration": f"queue:job_duration_seconds:mean1h{{{where}}}",
        "startup": f"queue:worker_startup_seconds:mean1h{{{where}}}",
    }
