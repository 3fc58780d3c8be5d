"""Manifests of the Kubernetes deployments, rendered for the tests."""
