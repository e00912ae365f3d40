"""The only places that know a client library: pymongo, nats-py and sqlite3, each in its folder."""
