"""What container runtimes and the kubelet leave behind for us to read."""
