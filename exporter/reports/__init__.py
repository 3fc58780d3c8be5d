"""What `report`, `explain` and `diff` print, built from snapshots. Pure: no I/O."""
