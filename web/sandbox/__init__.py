"""The outside world for demonstrations and tests: a phone network that speaks Kannel's `sendsms` and sends nothing."""
