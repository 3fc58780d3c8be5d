# docs/install/docker.md explains how to build and run this image. BuildKit is not required.
# The base needs Python 3.11 or later with venv, and Debian's or python.org's layout.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# pip's settings; no setting of this stage reaches the image.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_NO_INDEX
ENV PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# pip stays in a separate environment. wheel[s]: a glob, because wheels/ is optional.
RUN python3 -m venv /pip && python3 -m venv --without-pip /opt/exporter
COPY requirements.lock wheel[s] wheels/
RUN /pip/bin/pip --python /opt/exporter install --only-binary :all: \
        --require-hashes --find-links wheels -r wheels/requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
COPY deploy/docker/healthy.py /opt/exporter/bin/healthy
# Compile now, because the root file system is read-only at run time. unchecked-hash,
# because COPY may change modification times.
RUN /pip/bin/pip --python /opt/exporter install --no-deps --no-build-isolation . \
    && /pip/bin/pip --python /opt/exporter uninstall --quiet --yes setuptools \
    && /opt/exporter/bin/python3 -m compileall -q \
        --invalidation-mode unchecked-hash /opt/exporter/lib

FROM ${BASE}
# Remove the base's installers, and compile its library where it is not compiled yet.
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
# Docker gives capabilities to other users only through file capabilities, which
# no-new-privileges disables. With --cap-drop=ALL root has only the capabilities that are
# added, and the process that serves the network switches to nobody, without any.
USER root
EXPOSE 10128
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s \
    CMD ["/opt/exporter/bin/healthy"]
ENTRYPOINT ["/opt/exporter/bin/netns-sysctl-exporter"]
