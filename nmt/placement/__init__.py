"""Which device runs each layer: plans, and the planners that search for them from costs alone."""
