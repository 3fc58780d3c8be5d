# docs/install/docker.md says how to build and run this. No BuildKit needed.
# The base needs Python 3.11 or later with venv, and Debian's or python.org's layout.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# What pip is told from outside; nothing of this stage's settings reaches the image.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_NO_INDEX
ENV PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# pip stays in an environment of its own; [s]: there may be no wheels/.
RUN python3 -m venv /pip && python3 -m venv --without-pip /opt/exporter
COPY requirements.lock wheel[s] wheels/
RUN /pip/bin/pip --python /opt/exporter install --only-binary :all: \
        --require-hashes --find-links wheels -r wheels/requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
COPY deploy/docker/healthy.py /opt/exporter/bin/healthy
# Bytecode now: the root file system is read-only later. By content, since a COPY may
# change a file's time.
RUN /pip/bin/pip --python /opt/exporter install --no-deps --no-build-isolation . \
    && /pip/bin/pip --python /opt/exporter uninstall --quiet --yes setuptools \
    && /opt/exporter/bin/python3 -m compileall -q \
        --invalidation-mode unchecked-hash /opt/exporter/lib

FROM ${BASE}
# The base's own installers go; its library is compiled where it is not yet.
RUN lib=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))') \
    && rm -rf "$lib/ensurepip" /usr/share/python-wheels /root/.cache \
        /usr/local/bin/pip* "$lib/site-packages/pip" "$lib"/site-packages/pip-* \
        "$lib/site-packages/setuptools" "$lib"/site-packages/setuptools-* \
        "$lib/site-packages/wheel" "$lib"/site-packages/wheel-* \
    && python3 -m compileall -q -x '/(site-packages|idlelib|lib2to3|test|tkinter)/' "$lib"
COPY --from=build /opt/exporter /opt/exporter
ENV PATH=/opt/exporter/bin:$PATH
LABEL org.opencontainers.image.title="netns-sysctl-exporter" \
      org.opencontainers.image.description="Prometheus exporter of the sysctls of every network namespace on a node" \
      org.opencontainers.image.licenses="Apache-2.0"
# root, without its power: Docker gives capabilities to no other user but by file
# capabilities, which no-new-privileges switches off. --cap-drop=ALL leaves root the
# three, and the process that speaks to the network becomes nobody without any.
USER root
EXPOSE 10128
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s \
    CMD ["/opt/exporter/bin/healthy"]
ENTRYPOINT ["/opt/exporter/bin/netns-sysctl-exporter"]
