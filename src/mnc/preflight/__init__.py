"""What `mnc check` finds: facts about the servers, what they mean, and what to do about it."""
