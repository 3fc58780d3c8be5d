"""What each container runtime knows of its containers: files and APIs."""
