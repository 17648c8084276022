"""The translation server: HTTP in front of one `Translator`."""
