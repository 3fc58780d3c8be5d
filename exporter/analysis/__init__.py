"""Compare a snapshot with its references: drift, origin, saturation. Pure."""
