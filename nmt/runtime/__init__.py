"""A model executed step by step, as decoding needs it."""
