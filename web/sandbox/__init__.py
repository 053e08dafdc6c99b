"""The outside world for demonstrations and tests: a phone network that speaks Kannel's `sendsms`, and a mail server.
Neither sends anything."""
