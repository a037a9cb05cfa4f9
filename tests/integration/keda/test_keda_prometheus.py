"""Against a real Prometheus: what it says is what KEDA hears."""

from __future__ import annotations

import http.server
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest

from demo.ports import free_ports
from tests.support.keda import TARGET, TICK_S, Keda, refused, serving
from tests.support.waiting import until

pytestmark = pytest.mark.integration
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


class Real:
    """A Prometheus that scrapes a page, which the test writes, every second."""

    def __init__(self, folder: Path) -> None:
        self.page = "jobs 1\n"
        self._port, self._target = free_ports(2)
        self._folder = folder
        self.url = f"http://127.0.0.1:{self._port}"
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s}\n"
            "scrape_configs: [{job_name: page, "
            f'static_configs: [{{targets: ["127.0.0.1:{self._target}"]}}]}}]\n'
        )
        self._pages = http.server.ThreadingHTTPServer(("127.0.0.1", self._target), self._handler())
        threading.Thread(target=self._pages.serve_forever, args=(0.05,), daemon=True).start()
        self._process: subprocess.Popen[bytes] | None = None

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        real = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = real.page.encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
                pass

        return Handler

    def start(self) -> None:
        command = [
            "prometheus",
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def close(self) -> None:
        self.stop()
        self._pages.shutdown()
        self._pages.server_close()

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.url}/api/v1/query?query=up==1", timeout=2) as answer:
                return '"page"' in answer.read().decode()
        except OSError:
            return False


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    prometheus = Real(tmp_path_factory.mktemp("prometheus"))
    prometheus.start()
    try:
        yield prometheus
    finally:
        prometheus.close()


def test_numbers_streams_outage_and_return(real: Real) -> None:
    real.page = (
        'jobs 0\nratio NaN\ntwins{n="1"} 1\ntwins{n="2"} 2\n'
        'queue:jobs_demand:sum{queue="video-queue"} 12\n'
        'queue:jobs_in_flight:max{queue="video-queue"} 2\n'
    )
    with (
        serving(prometheus_url=real.url) as served,
        grpc.insecure_channel(served.address) as channel,
    ):
        keda = Keda(channel)
        jobs = {"query": "jobs", "threshold": "5"}

        def demand() -> bool:
            try:
                return keda.value(queue="video-queue", perWorker="2").metricValueFloat == 6
            except grpc.RpcError:
                return False

        until(demand)
        time.sleep(TICK_S)  # then the moment of every query lies after the first scrape
        assert keda.value(**jobs).metricValueFloat == 0
        assert not keda.is_active(**jobs)
        assert keda.value(query="vector(2) + 0.5", threshold="1").metricValueFloat == 2.5
        assert keda.value(query="scalar(jobs) + 3", threshold="1").metricValueFloat == 3
        for query, reason in (
            ("ratio", "NaN is no number"),
            ("twins", "more than one series"),
            ("jobs / 0", "NaN is no number"),
            ("missing", "no data"),
            ("twins * on() jobs", "refused the query"),
        ):
            with refused(UNAVAILABLE, reason):
                keda.value(query=query, threshold="1")
        stream = keda.stream_active(**jobs)
        assert not next(stream).result
        real.page = "jobs 9\n"
        assert next(stream).result

        real.stop()
        time.sleep(0.5)
        served.board.decide(1)
        with refused(UNAVAILABLE, "is not reachable"):
            keda.value(**jobs)
        assert keda.spec(**jobs).targetSizeFloat == 5
        assert keda.value(target=TARGET).metricValueFloat == 1
        real.start()
        time.sleep(0.5)
        assert keda.value(**jobs).metricValueFloat == 9


def test_an_expensive_query_ends_in_time(real: Real) -> None:
    slow = "sum(count_over_time((sum(rate(up[1h])))[300d:1s]))"
    with (
        serving(prometheus_url=real.url, grpc_query_timeout_s=0.5) as served,
        grpc.insecure_channel(served.address) as channel,
    ):
        keda = Keda(channel)
        with refused(UNAVAILABLE, "did not answer within 0.5 s"):
            keda.value(query=slow, threshold="1")

        def others_are_answered() -> bool:
            try:
                return keda.value(query="vector(1)", threshold="1").metricValueFloat == 1
            except grpc.RpcError:
                return False

        until(others_are_answered)
