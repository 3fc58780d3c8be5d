"""Find network namespaces, the processes in them, and a way to enter each."""
