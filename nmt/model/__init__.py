"""The model: a graph of named layers that knows nothing of devices, processes or decoding."""
