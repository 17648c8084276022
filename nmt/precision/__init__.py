"""Number formats: bf16."""
