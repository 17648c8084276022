"""How a graph is run by a plan: executors that share one interface."""
