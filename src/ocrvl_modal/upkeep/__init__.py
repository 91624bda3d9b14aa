"""Looking after a place where jobs run: what works there, which secrets it has, and what in its stores may go."""
