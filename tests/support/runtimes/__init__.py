"""Real container runtimes for tests: Docker, containerd, podman, runc and crun."""
