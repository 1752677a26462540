"""What decides a rollout: what was observed of both arms, compared so that any number of looks is valid. No I/O."""
