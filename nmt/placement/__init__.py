"""Where each layer runs: plans and the planners that make them. Numbers in, plan out; no torch."""
