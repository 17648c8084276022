"""Searches over architectures, update rules and any other settings. A method proposes points of a
space, children are trained briefly, and their loss is the method's reward."""
