"""Starting training runs: a run is a resolved configuration, a folder and a result."""
