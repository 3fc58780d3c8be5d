"""One collection: enumerate, enter and read every network namespace into a snapshot."""
