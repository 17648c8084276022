"""Number formats: fp32, bf16 and int8."""
