"""Several replicas as one service: stored rows, agents' state, presence and commands shared over Redis."""
