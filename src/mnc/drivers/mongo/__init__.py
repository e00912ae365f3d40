"""MongoDB through pymongo: change streams, token documents, and what the servers say."""
