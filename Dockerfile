# The base needs Python 3.11 or later with venv and pip.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
COPY requirements.lock ./
RUN python3 -m venv /opt/exporter \
    && /opt/exporter/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
RUN /opt/exporter/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM ${BASE}
COPY --from=build /opt/exporter /opt/exporter
EXPOSE 10128
ENTRYPOINT ["/opt/exporter/bin/netns-sysctl-exporter"]
