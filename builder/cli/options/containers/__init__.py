"""Options of containers: rows of docker's that are beside the usual ones, and what they ask for."""
