"""A small grammar of English, German and French, for the sample corpus."""
