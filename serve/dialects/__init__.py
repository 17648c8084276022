"""The forms of requests and answers that existing clients know."""
