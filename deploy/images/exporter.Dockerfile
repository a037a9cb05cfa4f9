ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
# Dependencies first: a change of the source costs only the last layer.
COPY pyproject.toml constraints.txt LICENSE ./
RUN touch README.md \
 && python3 -m venv --without-pip /opt/app \
 && pip --python /opt/app/bin/python3 install --no-cache-dir --constraint constraints.txt ".[exporter]"
COPY common/ common/
COPY exporter/ exporter/
RUN pip --python /opt/app/bin/python3 install --no-cache-dir --no-deps --force-reinstall .

FROM ${BASE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="RabbitMQ and fleet ledger to Prometheus" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/*
COPY deploy/images/healthcheck.py /usr/local/lib/healthcheck.py
COPY --from=build /opt/app /opt/app
ENV PATH=/opt/app/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HTTP_PORT=9419
USER 10001:10001
WORKDIR /app
EXPOSE 9419
HEALTHCHECK --interval=5s --timeout=30s --start-period=60s --retries=3 \
    CMD ["python3", "-S", "/usr/local/lib/healthcheck.py"]
ENTRYPOINT ["tini", "--", "python3", "-m", "exporter"]
